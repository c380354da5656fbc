"""The service: from an HTTP request to an answer. `jaxcnn serve` starts it."""
