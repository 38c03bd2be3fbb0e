"""Where a model's weights are, and of what type."""

import torch
from torch import Tensor, nn


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's weights; the CPU if it has none."""
    weight = _first_weight(model)
    return torch.device("cpu") if weight is None else weight.device


def dtype_of(model: nn.Module) -> torch.dtype:
    """Return the type of a model's weights; float32 if it has none."""
    weight = _first_weight(model)
    return torch.float32 if weight is None else weight.dtype


def _first_weight(model: nn.Module) -> Tensor | None:
    for parameter in model.parameters():
        return parameter
    # The replicas of nn.DataParallel have no parameters: their weights are plain attributes.
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor):
                return value
    return None
