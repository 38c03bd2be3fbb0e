"""Attacking defended classifiers, and saying plainly what came of it."""
