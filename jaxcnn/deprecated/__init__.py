"""Modules under the names they had in 0.1, for this release: import from `jaxcnn` instead."""
