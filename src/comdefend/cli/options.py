"""What several commands share."""


def open_device(name: str) -> str:
    """Return the device that ``--device`` stands for.

    Raises:
        InputError: An unknown device, or a GPU that is not there.
    """
    import torch

    from comdefend.errors import InputError

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda': no GPU that torch can use; take --device cpu")
    if name not in ("cpu", "cuda"):
        raise InputError(f"unknown device '{name}'; use auto, cpu or cuda")
    return name
