"""What `jaxcnn check_data` looks for in a data set, and how it tells."""
