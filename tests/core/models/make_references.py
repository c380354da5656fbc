"""Writes what the twins give: `python -m tests.core.models.make_references`, with PyTorch."""

import numpy as np

from tests.core.models.mobile_cases import CASES
from tests.core.models.parity import REFERENCES, arrays_of, build_twin, theirs


def main() -> None:
    families: dict[str, dict[str, np.ndarray]] = {}
    for case in CASES:
        arrays, outcome = arrays_of(build_twin(case)), theirs(case)
        found = {
            "names": np.array(list(arrays)),
            "shapes": np.array([" ".join(map(str, value.shape)) for value in arrays.values()]),
            "eval_logits": outcome.eval_logits,
            "train_logits": outcome.train_logits,
            "projected": outcome.projected(),
        }
        file = families.setdefault(case.family, {})
        file |= {f"{case.name}/{key}": value for key, value in found.items()}
    REFERENCES.mkdir(exist_ok=True)
    for family, file in families.items():
        np.savez_compressed(REFERENCES / f"{family}.npz", **file)


if __name__ == "__main__":
    main()
