"""The documents: prose in templates, figures from records.

``python -m tools.docs`` writes them, ``python -m tools.docs --check`` lists those that are stale.
"""
