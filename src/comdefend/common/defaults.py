"""The defaults of every command."""

RECOMMENDED = "rgb-variable@2"
"""The recommended purifier."""
