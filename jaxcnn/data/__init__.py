"""Where images come from.

Each entry makes the splits of a data set, `{"train": Source, ["validation": ...], ["test": ...]}`,
from the keywords in `config.data.*`. Reading and decoding wait until someone asks for images.
"""

from collections.abc import Callable

from jaxcnn.data.arrays import load_arrays
from jaxcnn.data.csv import load_csv
from jaxcnn.data.digits import load_digits
from jaxcnn.data.folder import load_folder
from jaxcnn.data.source import Source
from jaxcnn.data.synthetic import load_synthetic
from jaxcnn.data.tfds import load_tfds

SOURCES: dict[str, Callable[..., dict[str, Source]]] = {
    "folder": load_folder,
    "csv": load_csv,
    "arrays": load_arrays,
    "digits": load_digits,
    "tfds": load_tfds,
    "synthetic": load_synthetic,
}
