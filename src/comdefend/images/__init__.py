"""Image files: reading, writing, tiling, purifying."""
