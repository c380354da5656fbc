"""`python -m jaxcnn.main` is `jaxcnn train`."""

from jaxcnn.cli import start

if __name__ == "__main__":
    start("train")
