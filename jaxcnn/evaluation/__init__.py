"""Assesses trained models: metrics, failures, what they look at; and compares two of them."""
