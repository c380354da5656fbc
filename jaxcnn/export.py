"""`python -m jaxcnn.export` is `jaxcnn export`; imported, it is the function `jaxcnn.export`."""

import sys

if __name__ == "__main__":
    from jaxcnn.cli import start

    start("export")
else:
    from jaxcnn.exports.export import export

    sys.modules[__name__] = export  # type: ignore[assignment]  # Python makes it jaxcnn.export
