"""A model beside its twin in PyTorch: one state dict, the same images, labels and loss for both.

What the twins gave is kept in `references/`, made by
`python -m tests.core.models.make_references`, so that parity is checked where PyTorch is absent.
Weights are drawn from a seed in the state dict's order and need not be kept.
"""

import importlib
import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn.pretrained.convert import convert

NUM_CLASSES = 5
REFERENCES = Path(__file__).with_name("references")
# What runs once had better compile fast: a third of the time.
_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class Case(NamedTuple):
    """family: the file of references. build: build(dtype=...) gives our model of NUM_CLASSES.

    twin: keywords of the family's twin, in the module `twins`. shape: of an image, [H, W, C].
    """

    family: str
    name: str
    build: Callable[..., nn.Module]
    rules: tuple[tuple[str, str], ...]
    twin: dict[str, Any]
    shape: tuple[int, int, int] = (17, 16, 3)
    twins: str = "twins"

    def __str__(self) -> str:
        return self.name

    def __hash__(self) -> int:
        return hash((self.family, self.name))


class Outcome(NamedTuple):
    """Logits in evaluation and training mode, and {"params": gradients of the mean loss,
    "batch_stats": after one training pass} in our names and layout.
    """

    eval_logits: np.ndarray
    train_logits: np.ndarray
    after: dict[str, Any]

    def projected(self) -> np.ndarray:
        """One number for each array of `after`: its product with random numbers, summed."""
        leaves = jax.tree.leaves(self.after)
        random = np.random.default_rng(1)
        return np.array([(leaf * random.normal(size=leaf.shape)).sum() for leaf in leaves])


def seeded(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """A state dict of random float64 arrays, in the order of `shapes`."""
    random = np.random.default_rng(0)
    state = {}
    for name, shape in shapes.items():
        if len(shape) > 1:
            state[name] = random.normal(0, math.sqrt(2 / math.prod(shape[1:])), shape)
        elif name.endswith(("weight", "running_var")):
            state[name] = random.uniform(0.5, 1.5, shape)
        else:
            state[name] = random.normal(0, 0.1, shape)
    return state


def batch_of(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """(images float64[3, H, W, C], labels int[3])"""
    image = np.random.default_rng(2).normal(size=(3, *case.shape))
    return image, np.array([4, 0, 2])


def converted(case: Case, model: nn.Module, state: Mapping[str, np.ndarray], dtype: Any) -> Any:
    """The state dict as variables of `model`; nothing may be missing or left over."""
    image = jax.ShapeDtypeStruct((1, *case.shape), dtype)
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), image)
    like = jax.tree.map(lambda leaf: np.zeros(leaf.shape, dtype), shapes)
    found = convert(state, case.rules, like)
    assert not (found.missing or found.left_over or found.misfits), found[2:]
    return found.variables


def our_logits(case: Case, state: Mapping[str, np.ndarray]) -> np.ndarray:
    """float32 logits in evaluation mode."""
    model = case.build(dtype=jnp.float32)
    apply = _jit(partial(model.apply, train=False))
    image = batch_of(case)[0].astype(np.float32)
    return np.asarray(apply(converted(case, model, state, np.float32), image))


@cache
def ours(case: Case) -> Outcome:
    """What our model gives in float64."""
    with jax.enable_x64(True):
        model = case.build(dtype=jnp.float64)
        variables = converted(case, model, seeded(kept_shapes(case)), np.float64)
        return jax.device_get(_jit(partial(_run, model))(variables, *batch_of(case)))


def _run(model: nn.Module, variables: Any, image: jax.Array, label: jax.Array) -> Outcome:
    def mean_loss(params):
        given = {**variables, "params": params}
        logits, updates = model.apply(given, image, train=True, mutable=["batch_stats"])
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()
        return loss, (logits, updates)

    grads, (logits, updates) = jax.grad(mean_loss, has_aux=True)(variables["params"])
    after = {"params": grads, **updates}
    return Outcome(model.apply(variables, image, train=False), logits, after)


def build_twin(case: Case) -> Any:
    """The case's network in PyTorch."""
    twins = importlib.import_module(f"tests.core.models.{case.twins}")
    return getattr(twins, case.family)(**case.twin, num_classes=NUM_CLASSES)


def theirs(case: Case) -> Outcome:
    """What the twin gives in float64."""
    import torch

    torch.set_num_threads(1)  # on busy cores its threads wait for each other, for minutes
    twin = build_twin(case).double()
    state = seeded({name: tuple(value.shape) for name, value in arrays_of(twin).items()})
    twin.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()}, False)
    image, label = batch_of(case)
    image, label = torch.from_numpy(image.transpose(0, 3, 1, 2)), torch.from_numpy(label)
    with torch.no_grad():
        eval_logits = twin.eval()(image).numpy()
    values = _watch_norms(twin)
    train_logits = twin.train()(image)
    torch.nn.functional.cross_entropy(train_logits, label).backward()
    after = {name: parameter.grad.numpy() for name, parameter in twin.named_parameters()}
    for name, buffer in twin.named_buffers():
        if name.endswith("running_mean"):
            after[name] = buffer.numpy()
        elif name.endswith("running_var"):
            # PyTorch keeps the unbiased variance, Flax (and the paper) the biased.
            n = values[name.removesuffix(".running_var")]
            after[name] = 0.9 * state[name] + (buffer.numpy() - 0.9 * state[name]) * (n - 1) / n
    with jax.enable_x64(True):
        after = converted(case, case.build(dtype=jnp.float64), after, np.float64)
    return Outcome(eval_logits, train_logits.detach().numpy(), after)


def _watch_norms(twin: Any) -> dict[str, int]:
    """Fills in, when the twin runs, over how many values each norm averages."""
    import torch

    values: dict[str, int] = {}
    for name, module in twin.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):

            def note(module, given, output, name=name):
                values[name] = given[0].numel() // given[0].shape[1]

            module.register_forward_hook(note)
    return values


def arrays_of(twin: Any) -> dict[str, Any]:
    """A twin's state dict without its counters."""
    return {k: v for k, v in twin.state_dict().items() if not k.endswith("num_batches_tracked")}


def kept(case: Case) -> dict[str, np.ndarray]:
    """The references of a case: names, shapes, eval_logits, train_logits, projected."""
    with np.load(REFERENCES / f"{case.family}.npz") as file:
        return {key.partition("/")[2]: file[key] for key in file if key.startswith(f"{case.name}/")}


def kept_shapes(case: Case) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the twin's state dict."""
    file = kept(case)
    shapes = (tuple(map(int, shape.split())) for shape in file["shapes"])
    return dict(zip(file["names"].tolist(), shapes, strict=True))


def assert_close(found: Any, expected: Any, tolerance: float = 1e-9) -> None:
    """Each array agrees to so much of its largest value."""

    def compare(path, one, other):
        scale = max(1.0, np.abs(other).max())
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * scale, err_msg=name)

    jax.tree_util.tree_map_with_path(compare, found, expected)


def check_against_references(case: Case) -> None:
    """Ours agrees with what the twin once gave."""
    file, outcome = kept(case), ours(case)
    assert_close(outcome.eval_logits, file["eval_logits"])
    assert_close(outcome.train_logits, file["train_logits"])
    assert_close(outcome.projected(), file["projected"])
    float32 = our_logits(case, seeded(kept_shapes(case)))
    assert_close(float32, file["eval_logits"], 1e-4)


def check_against_twin(case: Case) -> None:
    """Ours agrees with the twin as it is now, and so does the file."""
    outcome, file = theirs(case), kept(case)
    assert_close(ours(case), outcome)
    assert_close(file["projected"], outcome.projected())
