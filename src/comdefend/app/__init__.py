"""A page in the browser: a person attacks a photograph and sees what a purifier makes of it."""
