"""`python -m jaxcnn.evaluate` is `jaxcnn evaluate`."""

from jaxcnn.cli import start

if __name__ == "__main__":
    start("evaluate")
