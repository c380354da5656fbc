"""`python -m jaxcnn.benchmark` is `jaxcnn benchmark`."""

from jaxcnn.cli import start

if __name__ == "__main__":
    start("benchmark")
