"""SavedModels of the families, in a process of their own: Keras is on TensorFlow there."""

import subprocess
import sys

import pytest

from tests.processes import ROOT, environment

SCRIPT = """if True:
    import sys
    from pathlib import Path
    from jaxcnn.exports.verified import reference, write_verified
    from tests.exports.models import crops, make_model
    model, image = make_model(sys.argv[1]), crops(32)
    expected = reference(model, image)
    print(write_verified(Path(sys.argv[2]), "saved_model", model, image, expected).difference)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", ["cnn", "resnet20_cifar", "mobilenet_v2", "efficientnet_b0", "convnext_cifar"]
)
def test_a_family_answers_in_tensorflow_as_in_jax(model, tmp_path, has_tensorflow):
    env = environment(1, tensorflow=True) | {"KERAS_BACKEND": "tensorflow"}
    how = {"cwd": ROOT, "env": env, "capture_output": True, "text": True}
    folder = tmp_path / "v[1]"  # which TensorFlow's reader takes for a pattern
    folder.mkdir()
    done = subprocess.run([sys.executable, "-c", SCRIPT, model, str(folder)], **how)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) <= 1e-5
