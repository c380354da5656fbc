"""Weights that others have trained, in the names of other libraries, as variables of our models."""
