"""Purifiers in use: engines that compute them, and files for programs without comdefend."""

from comdefend.engines.agreement import Agreement, check_engine, measure_agreement
from comdefend.engines.engine import Engine
from comdefend.engines.opening import ENGINES, open_engine, open_network
from comdefend.engines.quantization import calibrate, load_calibration, save_calibration

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
