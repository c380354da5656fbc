"""jaxcnn: train CNNs with pure functions.

For whole runs:

    default_config, resolve, load_config
                                      the config of a run
    train, train_seeds, tune          train it, with several seeds, or search for a better one
    Training, finish, groups          the loop itself, its end, and which runs share one
    load_trained, Trained             a trained model, read back from its run directory
    load_classifier, Classifier       the same for answers alone: of a run, or of an ONNX file
    check                             what in the data would harm training, before it
    find_data, assess, illustrate, write_report, history, compare_runs
                                      how good it is, where it fails, what it looks at
    export                            files for other systems
    report                            charts and galleries
    UserError                         what the user can mend, in one line

For research, the pieces of a training run, none of which reads a config or a file:

    make_train_step, make_eval_step, make_predict_step, make_gradients
                                      pure functions of (state, batch)
    skip_nonfinite                    a train step that leaves out what is not finite
    TrainState, create_train_state    the state, one pytree
    MODELS, build_model               linen modules by name; the one that a config names
    make_optimizer, SCHEDULES         the Optax chain
    Rule, parameter_stages, layer_decay_rules
                                      what differs between parameters: frozen, slower, less decay
    AUGMENTATIONS, compose, on_image  what happens to batches on the device before the model
    normalize                         from bytes to what a model sees
    LOSSES, cross_entropy, balanced_weights
                                      the loss, for hard and soft labels, and its class weights
    summarize                         metrics from sums

What is not named here is internal, and may change with any release. `import jaxcnn` imports nothing
else: each name brings what it needs when it is first used.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxcnn import report
    from jaxcnn.builders.data import build_model
    from jaxcnn.checking.check import check
    from jaxcnn.config import default_config, load_config, resolve
    from jaxcnn.core.augment import AUGMENTATIONS, compose, normalize, on_image
    from jaxcnn.core.losses import LOSSES, balanced_weights, cross_entropy
    from jaxcnn.core.metrics import summarize
    from jaxcnn.core.models import MODELS
    from jaxcnn.core.optim import SCHEDULES, make_optimizer
    from jaxcnn.core.rules import Rule, layer_decay_rules, parameter_stages
    from jaxcnn.core.state import TrainState, create_train_state
    from jaxcnn.core.step import (
        make_eval_step,
        make_gradients,
        make_predict_step,
        make_train_step,
    )
    from jaxcnn.core.step_wrappers import skip_nonfinite
    from jaxcnn.errors import UserError
    from jaxcnn.evaluation.assess import assess, find_data
    from jaxcnn.evaluation.compare import compare_runs
    from jaxcnn.evaluation.illustrate import illustrate
    from jaxcnn.evaluation.report import history, write_report
    from jaxcnn.exports.export import export
    from jaxcnn.inference.classifier import Classifier, load_classifier
    from jaxcnn.inference.trained import Trained, load_trained
    from jaxcnn.search.tune import tune
    from jaxcnn.training.loop import Training
    from jaxcnn.training.population import groups
    from jaxcnn.training.seeds import train_seeds
    from jaxcnn.training.train import finish, train

# Where each name is, for `__getattr__`; the imports above tell editors and type checkers the same.
_HOMES = {
    "builders.data": ("build_model",),
    "checking.check": ("check",),
    "config": ("default_config", "load_config", "resolve"),
    "core.augment": ("AUGMENTATIONS", "compose", "normalize", "on_image"),
    "core.losses": ("LOSSES", "balanced_weights", "cross_entropy"),
    "core.metrics": ("summarize",),
    "core.models": ("MODELS",),
    "core.optim": ("SCHEDULES", "make_optimizer"),
    "core.rules": ("Rule", "layer_decay_rules", "parameter_stages"),
    "core.step_wrappers": ("skip_nonfinite",),
    "core.state": ("TrainState", "create_train_state"),
    "core.step": ("make_eval_step", "make_gradients", "make_predict_step", "make_train_step"),
    "errors": ("UserError",),
    "evaluation.assess": ("assess", "find_data"),
    "evaluation.compare": ("compare_runs",),
    "evaluation.illustrate": ("illustrate",),
    "evaluation.report": ("history", "write_report"),
    "exports.export": ("export",),
    "inference.classifier": ("Classifier", "load_classifier"),
    "inference.trained": ("Trained", "load_trained"),
    "search.tune": ("tune",),
    "training.loop": ("Training",),
    "training.population": ("groups",),
    "training.seeds": ("train_seeds",),
    "training.train": ("finish", "train"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AUGMENTATIONS",
    "LOSSES",
    "MODELS",
    "SCHEDULES",
    "Classifier",
    "Rule",
    "TrainState",
    "Trained",
    "Training",
    "UserError",
    "__version__",
    "assess",
    "balanced_weights",
    "build_model",
    "check",
    "compare_runs",
    "compose",
    "create_train_state",
    "cross_entropy",
    "default_config",
    "export",
    "find_data",
    "finish",
    "groups",
    "history",
    "illustrate",
    "layer_decay_rules",
    "load_classifier",
    "load_config",
    "load_trained",
    "make_eval_step",
    "make_gradients",
    "make_optimizer",
    "make_predict_step",
    "make_train_step",
    "normalize",
    "on_image",
    "parameter_stages",
    "report",
    "resolve",
    "skip_nonfinite",
    "summarize",
    "train",
    "train_seeds",
    "tune",
    "write_report",
]

# Modules that moved go on under their old names for a release, with a warning.
__path__.append(str(Path(__file__).with_name("deprecated")))


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("jaxcnn")
    elif name == "report":
        return import_module("jaxcnn.report")
    elif name in _HOME:
        value = getattr(import_module(f"jaxcnn.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module 'jaxcnn' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
