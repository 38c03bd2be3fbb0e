"""Training purifiers and classifiers, by recipes."""
