"""Images to a few bytes and back: the code of a purifier, entropy coded, in a container."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from comdefend.codec.describe import Info, info
    from comdefend.codec.files import compress_files, decompress_files
    from comdefend.codec.in_memory import TruncatedWarning, compress, decompress

_HOMES = {
    "Info": "describe",
    "TruncatedWarning": "in_memory",
    "compress": "in_memory",
    "compress_files": "files",
    "decompress": "in_memory",
    "decompress_files": "files",
    "info": "describe",
}

__all__ = [
    "Info",
    "TruncatedWarning",
    "compress",
    "compress_files",
    "decompress",
    "decompress_files",
    "info",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
