"""Writes what the twins give: `python -m tests.core.models.make_references`, with PyTorch."""

import numpy as np
import torch

from tests.conftest import SHARED
from tests.core.models import twins
from tests.core.models.every_case import CASES
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
    np.savez_compressed(REFERENCES / "resnet20_cifar10.npz", logits=published_logits())


def published_logits() -> np.ndarray:
    """float32[8, 10]: of the first images, with the weights others have trained."""
    twin = twins.cifar_resnet("pad", num_classes=10, width=16, stage_sizes=(3, 3, 3))
    with np.load(SHARED / "weights/resnet20-cifar10.npz") as weights:
        state = {name: torch.from_numpy(weights[name]) for name in weights}
    twin.load_state_dict(state, strict=False)  # without counters of batches
    with np.load(SHARED / "cifar10_lossless_1000.npz") as data:
        image = data["image"][:8] / 255
    image = (image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with torch.no_grad():
        image = torch.from_numpy(image.astype(np.float32)).permute(0, 3, 1, 2)
        return twin.eval()(image).numpy()


if __name__ == "__main__":
    main()
