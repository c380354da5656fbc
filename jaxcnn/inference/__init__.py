"""A trained model in use: read back from its run, asked about images and videos."""
