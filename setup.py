"""The packages: those of jaxcnn/, and experiments/ as jaxcnn.recipes.

`jaxcnn.config.experiment.recipes` finds them, in a checkout where they are. All else about the
distribution is in pyproject.toml.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["jaxcnn*"]), "jaxcnn.recipes"],
    package_dir={"jaxcnn.recipes": "experiments"},
)
