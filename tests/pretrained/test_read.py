"""Weight files are read as they were written; what is none is refused in one line."""

import pickle

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxcnn.errors import UserError
from jaxcnn.pretrained.read import read_weights


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was opened",))


def tensors():
    draw = np.random.default_rng(0).normal
    return {
        "conv1.weight": draw(size=(4, 3, 3, 3)).astype(np.float32),
        "conv1.bias": draw(size=4).astype(jnp.bfloat16),
        "fc.weight": draw(size=(2, 4)).astype(np.float16),
        "fc.bias": draw(size=2),
        "bn1.num_batches_tracked": np.array(7),
    }


def refused(path):
    with pytest.raises(UserError) as error:
        read_weights(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


def test_safetensors_come_back_in_every_dtype(tmp_path):
    save_file(tensors(), tmp_path / "w.safetensors")
    read = read_weights(tmp_path / "w.safetensors")
    assert read.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert read[name].dtype == tensor.dtype
        np.testing.assert_array_equal(read[name], tensor)


def test_npz_comes_back(tmp_path):
    given = {name: np.float32(tensor) for name, tensor in tensors().items()}
    np.savez(tmp_path / "w.npz", **given)
    read = read_weights(tmp_path / "w.npz")
    assert read.keys() == given.keys()
    np.testing.assert_array_equal(read["conv1.weight"], given["conv1.weight"])


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_what_wrappers_put_before_all_names_is_taken_off(prefix, tmp_path):
    save_file({prefix + k: v for k, v in tensors().items()}, tmp_path / "w.safetensors")
    assert read_weights(tmp_path / "w.safetensors").keys() == tensors().keys()


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".pkl"])
def test_a_pickle_is_not_opened_and_told_what_to_do(suffix, tmp_path):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(pickle.dumps(Trap()))
    message = refused(path)
    assert "safetensors.torch.save_file(state_dict, 'weights.safetensors')" in message
    # Nor under another name, nor inside an archive.
    for name in ("w.npz", "w.safetensors", "w.h5"):
        (tmp_path / name).write_bytes(path.read_bytes())
        assert "cannot be read as" in refused(tmp_path / name)
    np.savez(tmp_path / "objects.npz", w=np.array([Trap()], dtype=object))
    assert "cannot be read as .npz" in refused(tmp_path / "objects.npz")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".h5"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_truncated_file_is_refused(suffix, share, tmp_path):
    path = tmp_path / f"w{suffix}"
    whole = {name: tensor.astype(np.float32) for name, tensor in tensors().items()}
    if suffix == ".safetensors":
        save_file(whole, path)
    elif suffix == ".npz":
        np.savez(path, **whole)
    else:
        h5py = pytest.importorskip("h5py", reason="h5py is not installed")
        with h5py.File(path, "w") as file:
            file.create_group("layers").create_dataset("dense/vars/0", data=whole["fc.weight"])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert f"cannot be read as {suffix}" in refused(path)


def test_a_flipped_bit_in_an_npz_is_noticed(tmp_path):
    np.savez(tmp_path / "w.npz", w=np.zeros(1000, np.float32))
    content = bytearray((tmp_path / "w.npz").read_bytes())
    content[2000] ^= 1
    (tmp_path / "w.npz").write_bytes(content)
    assert "cannot be read as .npz" in refused(tmp_path / "w.npz")


def test_what_is_no_weight_file_is_told_apart(tmp_path):
    (tmp_path / "empty.safetensors").touch()
    assert "is empty" in refused(tmp_path / "empty.safetensors")
    assert "no such file" in refused(tmp_path / "absent.npz")
    save_file({}, tmp_path / "none.safetensors")
    assert "holds no tensors" in refused(tmp_path / "none.safetensors")
    (tmp_path / "w.onnx").write_bytes(b"x")
    assert "expected .safetensors, .npz, .h5 or the directory of a run" in refused(
        tmp_path / "w.onnx"
    )


def test_tensors_that_are_no_finite_numbers_are_named(tmp_path):
    save_file({"a": np.ones(2), "b": np.array([1, np.nan])}, tmp_path / "w.safetensors")
    assert "tensor b is not finite" in refused(tmp_path / "w.safetensors")
    np.savez(tmp_path / "w.npz", a=np.array(["x"]))
    assert "tensor a is of <U1" in refused(tmp_path / "w.npz")
    save_file({"a": np.ones(2, bool)}, tmp_path / "w.safetensors")
    assert "tensor a is of BOOL" in refused(tmp_path / "w.safetensors")
