"""`python -m jaxcnn VERB`, which is the script `jaxcnn VERB`."""

from jaxcnn.cli import main

if __name__ == "__main__":
    main()
