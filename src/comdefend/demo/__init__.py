"""The demo: two real classifiers, attacked and defended, on real images."""

from comdefend.demo.run import run_demo

__all__ = ["run_demo"]
