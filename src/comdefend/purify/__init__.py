"""Image files to purified image files."""
