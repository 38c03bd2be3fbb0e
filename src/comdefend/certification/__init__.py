"""What is proven of a classifier behind a purifier: randomised smoothing."""
