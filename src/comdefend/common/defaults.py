"""The defaults of every command."""

RECOMMENDED = "rgb-variable@2"
"""The purifier to take, unless something speaks for another."""
