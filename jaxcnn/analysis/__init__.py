"""Numbers out of predictions: NumPy and SciPy only, no device, no files but those it is given."""
