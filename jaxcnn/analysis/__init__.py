"""Numbers out of predictions: NumPy and SciPy only, no device, no files of its own."""
