"""Training purifiers and classifiers by recipes."""

from typing import Literal

Precision = Literal["auto", "float32", "bfloat16"]
"""``auto`` computes in bfloat16 if the processor or GPU has units for it, and else in float32."""
