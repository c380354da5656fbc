"""`python -m jaxcnn.predict` is `jaxcnn predict`."""

from jaxcnn.cli import start

if __name__ == "__main__":
    start("predict")
