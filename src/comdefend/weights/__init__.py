"""Weight files by name or path, checked before they are believed, and the files that ship."""
