"""Data sets by name or path, image files, and the images that ship."""
