"""Purifiers in use: engines that compute them, and files for programs without comdefend.

Each name below is imported when it is first asked for, so that opening an engine imports no more
than it needs.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from comdefend.engines.agreement import Agreement, check_engine, measure_agreement
    from comdefend.engines.backends import ENGINES
    from comdefend.engines.calibration import load_calibration, save_calibration
    from comdefend.engines.engine import Engine
    from comdefend.engines.opening import open_engine, open_network
    from comdefend.engines.quantization import calibrate

_HOMES = {
    "ENGINES": "backends",
    "Agreement": "agreement",
    "Engine": "engine",
    "calibrate": "quantization",
    "check_engine": "agreement",
    "load_calibration": "calibration",
    "measure_agreement": "agreement",
    "open_engine": "opening",
    "open_network": "opening",
    "save_calibration": "calibration",
}

__all__ = [
    "ENGINES",
    "Agreement",
    "Engine",
    "calibrate",
    "check_engine",
    "load_calibration",
    "measure_agreement",
    "open_engine",
    "open_network",
    "save_calibration",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
