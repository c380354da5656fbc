"""`python -m jaxcnn.serve` is `jaxcnn serve`."""

from jaxcnn.cli import start

if __name__ == "__main__":
    start("serve")
