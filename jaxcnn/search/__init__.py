"""A search over configs: what is searched, where trials are kept, who trains them, what is found.

Optuna keeps the study and proposes values; it is imported inside the functions that need it.
"""
