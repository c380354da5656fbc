"""Paths, locks, the run directory and its files, manifests; on a disk or in a bucket."""
