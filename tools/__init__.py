"""Tools for those who work on comdefend; not part of the package."""
