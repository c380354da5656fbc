"""`python -m jaxcnn.check_data` is `jaxcnn check_data`."""

from jaxcnn.cli import start

if __name__ == "__main__":
    start("check_data")
