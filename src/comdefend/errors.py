"""The errors that users meet: each one line that names what is wrong and what would be right.

Every class derives from `ComdefendError`, and from the built-in that fits, so that both
``except ComdefendError`` and ``except ValueError`` do what a reader expects. ``exit_code`` is what
the command line ends with: 2 for bad use, 1 for a job that failed.
"""


class ComdefendError(Exception):
    """Base of all errors that comdefend raises on purpose."""

    exit_code = 1


class InputError(ComdefendError, ValueError):
    """An argument has the wrong value, shape or range."""

    exit_code = 2


class InputTypeError(ComdefendError, TypeError):
    """An argument has the wrong type or dtype."""

    exit_code = 2


class DataMissingError(ComdefendError, FileNotFoundError):
    """A data set or file is not where it should be."""

    exit_code = 2


class ExtraMissingError(ComdefendError, ImportError):
    """An optional part of the package is not installed; the message holds the command."""

    exit_code = 2


class OutputError(ComdefendError, OSError):
    """An output cannot be written."""


class RemoteError(ComdefendError, OSError):
    """Another machine cannot be reached, or refuses: no credentials, no permission, no network."""


class WeightsError(ComdefendError):
    """A weight file is corrupt, or is not one of comdefend's."""


class ImageError(ComdefendError):
    """One image file cannot be read, or holds what comdefend does not handle."""


class EngineError(ComdefendError):
    """An engine, or an exported file, does not compute what its network computes."""


class ServiceError(ComdefendError, OSError):
    """A service cannot listen where it should."""


def one_line(error: BaseException) -> str:
    """Return what an error of someone else's code says, in one line with its type."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error, of whatever library, means that memory ran out.

    On a processor torch and OpenVINO raise a plain RuntimeError, ONNX Runtime errors of its own.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = str(error).lower()
    signs = (
        "allocate memory", "failed to allocate", "not enough memory", "out of memory", "bad_alloc",
        "bad allocation",
    )  # fmt: skip
    foreign = isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime")
    return foreign and any(sign in words for sign in signs)
