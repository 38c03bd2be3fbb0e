"""The defaults of every command."""

RECOMMENDED = "photo"
"""The recommended purifier."""
