"""The final test with test-time augmentation, beside the plain one."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn.builders.data import build_model
from jaxcnn.builders.devices import build_interceptor
from jaxcnn.core.augment import normalize
from jaxcnn.core.state import TrainState
from jaxcnn.core.step import make_eval_step
from jaxcnn.core.step_wrappers import with_input
from jaxcnn.core.views import all_views
from jaxcnn.runtime.compile import compile_step
from jaxcnn.training.run import Run

logger = logging.getLogger(__name__)


def evaluate_views(
    run: Run, facts: Mapping[str, Any], state: TrainState, role: str
) -> list[dict[str, float]]:
    """{"tta_accuracy", "tta_loss"} of each member, of the mean over the views of `report.tta`; {}
    where there are none.

    facts: the content of `dataset.json`; state: placed, as for `run.evaluate`.
    """
    if not run.config.report.tta:
        return [{}] * len(run.configs)
    views = len(all_views(jnp.zeros((1, *run.dataset.image_shape)), run.config.report.tta))
    logger.info("the same with test-time augmentation, %d views of each image", views)
    parallel = run.parallel
    step = make_eval_step(
        build_model(run.config, len(run.dataset.class_names), parallel.axis_name),
        normalize=partial(normalize, mean=facts["mean"], std=facts["std"]),
        axis_name=parallel.axis_name,
        views=run.config.report.tta,
        interceptor=build_interceptor(run.config, training=False),
    )
    transformed = parallel.transform(with_input(step), donate=False)
    # As in `jaxcnn.training.build_run`: ahead, `pmap` would not take what is a process' own part.
    if parallel.axis_name is None or jax.process_count() == 1:
        transformed = compile_step(transformed, state, run.example_batch(role, own=False))
    found = run.evaluate(state, role, transformed)
    return [{f"tta_{name}": one[name] for name in ("accuracy", "loss")} for one in found]
