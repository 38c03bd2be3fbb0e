"""How fast purifiers are, engine by engine, beside what a user would take instead."""

from comdefend.bench.run import run_bench

__all__ = ["run_bench"]
