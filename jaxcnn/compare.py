"""`python -m jaxcnn.compare` is `jaxcnn compare`."""

from jaxcnn.cli import start

if __name__ == "__main__":
    start("compare")
