"""`python -m jaxcnn.tune` is `jaxcnn tune`; imported, it is the function `jaxcnn.tune`."""

import sys

if __name__ == "__main__":
    from jaxcnn.cli import start

    start("tune")
else:
    from jaxcnn.search.tune import tune

    sys.modules[__name__] = tune  # type: ignore[assignment]  # Python makes it jaxcnn.tune
