"""Purifiers in use: engines that compute them, and files for programs without comdefend."""

from comdefend.runtime.agreement import Agreement, check_engine, measure_agreement
from comdefend.runtime.engine import Engine
from comdefend.runtime.engines import ENGINES, open_engine, open_network

__all__ = [
    "ENGINES",
    "Agreement",
    "Engine",
    "check_engine",
    "measure_agreement",
    "open_engine",
    "open_network",
]
