"""The speed recipe's training, beside the same in PyTorch: a loop written from the paper."""

from functools import partial

import jax
import numpy as np
import pytest

from jaxcnn import MODELS, create_train_state, make_optimizer, make_train_step
from jaxcnn.core.average import make_average, rising
from jaxcnn.core.losses import cross_entropy
from jaxcnn.core.optim import SCHEDULES
from jaxcnn.core.rules import Rule
from jaxcnn.pretrained.names import AIRBENCH
from tests.core.models.parity import all_converted, compiled_fast

WIDTHS, UPDATES, BATCH, RATE, MOMENTUM, DECAY = (5, 6, 7), 12, 16, 0.05, 0.85, 2e-3
SHAPE = (12, 12, 3)


def batches():
    random = np.random.default_rng(0)
    images = random.normal(size=(UPDATES, BATCH, *SHAPE)).astype(np.float32)
    return images, random.integers(0, 10, (UPDATES, BATCH)).astype(np.int32)


def theirs(torch, net):
    """[loss of each update]; net holds what is evaluated at the end."""
    biases = [p for name, p in net.named_parameters() if "norm" in name]
    others = [p for name, p in net.named_parameters() if "norm" not in name and name != "0.weight"]
    groups = [
        {"params": biases, "lr": 64 * RATE, "weight_decay": DECAY / 64},
        {"params": others, "lr": RATE, "weight_decay": DECAY},
    ]
    optimizer = torch.optim.SGD(groups, momentum=MOMENTUM, nesterov=True)
    rises = round(0.23 * UPDATES)

    def factor(step):
        left = (step - rises) / (UPDATES - rises)
        return 0.2 + 0.8 * step / rises if step < rises else 1 - 0.93 * left

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    measure = torch.nn.CrossEntropyLoss(label_smoothing=0.2)
    kept = [net.get_parameter(name) for name, _ in net.named_parameters()]
    kept += [buffer for name, buffer in net.named_buffers() if "running" in name]
    slow = [value.detach().clone() for value in kept]
    losses = []
    for number, (image, label) in enumerate(zip(*batches(), strict=True), start=1):
        image = torch.from_numpy(image).permute(0, 3, 1, 2)
        loss = measure(net(image), torch.from_numpy(label).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if number % 5 == 0:
            share = 1 - 0.95**5 * (number / UPDATES) ** 3
            with torch.no_grad():
                for before, now in zip(slow, kept, strict=True):
                    before.lerp_(now, share)
                    now.copy_(before)
    with torch.no_grad():
        for before, now in zip(slow, kept, strict=True):
            now.copy_(before)
    return losses


def ours(model, variables):
    """([loss of each update], what is evaluated at the end)"""
    rules = (Rule("norm", learning_rate=64.0, weight_decay=1 / 64), Rule("rest"))
    schedule = SCHEDULES["triangular"](RATE, UPDATES, rise=0.23, initial=0.2, final=0.07)
    tx = make_optimizer(
        "sgd", schedule, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY, decay_biases=True,
        rules=rules,
    )  # fmt: skip
    average = make_average(rising(0.95**5, UPDATES / 5), every=5, lookahead=True)
    loss_fn = partial(cross_entropy, label_smoothing=0.2)
    step = make_train_step(model, tx, normalize=lambda x: x, loss_fn=loss_fn, average=average)
    step, losses = compiled_fast(step), []
    state = create_train_state(model, tx, jax.random.key(0), SHAPE, variables, averaged=True)
    for image, label in zip(*batches(), strict=True):
        batch = {"image": image, "label": label, "mask": np.ones(BATCH, bool)}
        state, metrics = step(state, batch | {"index": np.arange(BATCH)})
        losses.append(float(metrics["loss"]) / BATCH)
    return losses, state.variables


def test_twelve_updates_of_the_recipe_are_those_of_its_paper_in_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra `parity`)")
    from tests.core.models.airbench_twins import airbench

    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = airbench(WIDTHS, 2, False, 10).train()
    model = MODELS["airbench94"](num_classes=10, widths=WIDTHS)

    def in_ours():
        state = {name: value.detach().numpy() for name, value in net.state_dict().items()}
        return all_converted(state, AIRBENCH, model, SHAPE).variables

    losses, evaluated = ours(model, in_ours())
    np.testing.assert_allclose(losses, theirs(torch, net), rtol=1e-4)
    expected = in_ours()
    for path, leaf in jax.tree.leaves_with_path(evaluated):
        other = expected
        for key in path:
            other = other[key.key]
        # PyTorch divides the running variance by n - 1.
        tolerance = 1 / (BATCH - 1) if path[-1].key == "var" else 2e-3
        scale = np.abs(other).max()
        np.testing.assert_allclose(leaf, other, rtol=tolerance, atol=tolerance * scale)
