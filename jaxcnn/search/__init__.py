"""A search over configs, by Optuna, which is imported in the functions that need it."""
