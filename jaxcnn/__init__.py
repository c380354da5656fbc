"""jaxcnn: train CNNs with pure functions.

For research, the pieces of a training run, none of which reads a config or a file:

    make_train_step, make_eval_step, make_predict_step
                                      pure functions of (state, batch)
    skip_nonfinite                    a train step that leaves out what is not finite
    TrainState, create_train_state    the state, one pytree
    MODELS                            linen modules by name
    make_optimizer, SCHEDULES         the Optax chain
    Rule, parameter_stages, layer_decay_rules
                                      what differs between parameters: frozen, slower, less decay
    AUGMENTATIONS, compose, on_image  what happens to batches on the device before the model
    normalize                         from bytes to what a model sees
    cross_entropy, balanced_weights   the loss, for hard and soft labels, and its class weights
    summarize                         metrics from sums

    build_model                       the linen module a config names

For whole runs from a config: `jaxcnn.train.train(config, workdir)`.
"""

import time

from jaxcnn.runtime import huge_pages

if huge_pages.is_command():
    huge_pages.start_again()  # before the imports that take long

STARTED = time.perf_counter()  # the log of a run tells how long those took

from jaxcnn.build import build_model  # noqa: E402
from jaxcnn.core.augment import AUGMENTATIONS, compose, normalize, on_image  # noqa: E402
from jaxcnn.core.losses import balanced_weights, cross_entropy  # noqa: E402
from jaxcnn.core.metrics import summarize  # noqa: E402
from jaxcnn.core.models import MODELS  # noqa: E402
from jaxcnn.core.optim import SCHEDULES, make_optimizer  # noqa: E402
from jaxcnn.core.rules import Rule  # noqa: E402
from jaxcnn.core.skip import skip_nonfinite  # noqa: E402
from jaxcnn.core.stages import layer_decay_rules, parameter_stages  # noqa: E402
from jaxcnn.core.state import TrainState, create_train_state  # noqa: E402
from jaxcnn.core.step import make_eval_step, make_predict_step, make_train_step  # noqa: E402

__all__ = [
    "AUGMENTATIONS",
    "MODELS",
    "SCHEDULES",
    "Rule",
    "TrainState",
    "balanced_weights",
    "build_model",
    "compose",
    "create_train_state",
    "cross_entropy",
    "layer_decay_rules",
    "make_eval_step",
    "make_optimizer",
    "make_predict_step",
    "make_train_step",
    "normalize",
    "on_image",
    "parameter_stages",
    "skip_nonfinite",
    "summarize",
]
