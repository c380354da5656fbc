"""The service: from an HTTP request to an answer. `python -m jaxcnn.serve` starts it."""
