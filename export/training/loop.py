"""One run of gradient descent: compiled, timed, stopped early with good weights, and kept on disk every epoch."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from export.architectures.architecture import Recipe
from export.errors import ExportError
from export.progress import Stage
from export.training.checkpoints import write_json
from export.training.optimizers import build_optimizer
from export.training.options import FLOAT32, TrainingOptions
from service.plurals import format_items

_LEAST_PATIENCE = 5
_IMPROVEMENT = 1e-3
"""Of the validation loss, relative: less is no reason to go on."""

_TIMED_STEPS, _TIMED_SECONDS = 2, 0.5
_VALIDATION_COST = 1 / 3
"""Of an image answered, in images learned from: no gradients are computed."""

_BACKUP_SECONDS = 10.0
"""Least time between two writings of what a killed run would lose: of a large network, they take a second."""

_STATE, _BEST, _BACKUP = "epochs.json", "best.npz", "backup"
_NUMBERS = ("loss", "accuracy", "val_loss", "val_accuracy")


@dataclass(frozen=True, slots=True)
class Batches:
    """Endless batches to learn from, `steps` an epoch over `images`, and those of the validation, once through."""

    train: Any
    steps: int
    images: int
    validation: Any
    validation_images: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """`best_epoch`, counted from 1, is the one whose weights are kept; `history` has a number an epoch."""

    epochs: int
    best_epoch: int
    seconds: float
    history: Mapping[str, list[float]] = field(default_factory=dict)


def run(
    model: Any,
    batches: Batches,
    recipe: Recipe,
    options: TrainingOptions,
    stage: Stage,
    *,
    rates: Mapping[str, float],
    class_weights: Mapping[int, float] | None,
    folder: Path,
    log: Path | None = None,
    settle: Callable[[], None] | None = None,
    brief: bool = False,
) -> Outcome:
    """Trains what is trainable of `model` in place, and leaves the weights of the last epoch that is among the best.

    `settle` is called ahead of each validation. `folder` holds what an interrupted run left, and what this one would. A
    `brief` run is one of seconds: it says little and starts anew after an interruption. Raises ExportError where the
    loss is no number.
    """
    import keras

    layers = list(model._flatten_layers(include_self=False))
    optimizer = build_optimizer(options, recipe.learning_rate, recipe.epochs * batches.steps, layers, rates)
    if options.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    # XLA costs far more to compile on a CPU than it ever gives back here.
    model.compile(optimizer, _build_loss(options.label_smoothing), metrics=[_build_accuracy()], jit_compile=False)
    started = time.monotonic()
    if brief:
        (folder / _STATE).unlink(missing_ok=True)
    with _compute_in(model, options.precision):
        patience = choose_patience(options.patience, recipe.epochs)
        keeper = _build_keeper(folder, patience, batches.validation_images, settle)
        if keeper.epochs:
            stage.tell(f"resuming after epoch {keeper.epochs}")
        elif not brief:
            _estimate(model, batches, recipe.epochs, stage)
        model.fit(
            batches.train,
            epochs=recipe.epochs,
            steps_per_epoch=batches.steps,
            shuffle=False,  # the batches are shuffled already
            verbose=0,
            validation_data=batches.validation,
            class_weight=dict(class_weights) if class_weights else None,
            callbacks=[
                keeper,
                *([] if brief else [_build_backup(folder, keeper)]),
                *_build_logs(log, append=keeper.epochs > 0),
                _build_reporter(stage, recipe.epochs, batches.steps, brief),
            ],
        )
        keeper.restore_best()
    _forget_optimizer(model)
    return Outcome(
        epochs=keeper.epochs,
        best_epoch=keeper.best_epoch,
        seconds=keeper.seconds_before + time.monotonic() - started,
        history=keeper.history,
    )


def _forget_optimizer(model: Any) -> None:
    """Gives back what only training needs: twice the weights, and code that a saved network would ask for."""
    model.compiled = False
    model.optimizer = None


def choose_patience(asked: int | None, epochs: int) -> int:
    """In epochs; more than there are where it never stops early."""
    if asked is None:  # the last epochs, at low rates, gain most after some that gained nothing
        return max(_LEAST_PATIENCE, math.ceil(epochs / 2))
    return asked or epochs + 1


def is_among_best(accuracies: Sequence[float], images: int) -> bool:
    """Whether the last of `accuracies`, each on the same `images`, is within a standard error of the highest.

    After Breiman et al., Classification and Regression Trees, 1984. Of a few images, an early epoch gets one or two
    more right by chance, and at high learning rates; what is learnt later, at low ones, makes up for it. The loss would
    choose networks that have hardly learnt: it rises while a network that gets more and more right becomes surer of its
    mistakes.
    """
    highest = max(accuracies)
    return accuracies[-1] >= highest - math.sqrt(highest * (1 - highest) / images)


def find_last_gain(accuracies: Sequence[float], losses: Sequence[float]) -> int:
    """The last epoch, counted from 1, with a higher accuracy or a lower loss than any before it."""
    last, accuracy, loss = 0, -math.inf, math.inf
    for epoch, each in enumerate(zip(accuracies, losses, strict=True), 1):
        if each[0] > accuracy or each[1] < loss * (1 - _IMPROVEMENT):
            last = epoch
        accuracy = max(accuracy, each[0])
        loss = each[1] if each[1] < loss * (1 - _IMPROVEMENT) else loss
    return last


def _build_loss(smoothing: float) -> Any:
    """Cross-entropy with labels as numbers or, where images are mixed, as shares."""
    import keras

    def cross_entropy(truth: Any, answers: Any) -> Any:
        if len(truth.shape) == 1 or truth.shape[-1] == 1:
            labels = keras.ops.cast(keras.ops.reshape(truth, (-1,)), "int32")
            truth = keras.ops.one_hot(labels, answers.shape[-1])
        return keras.losses.categorical_crossentropy(truth, answers, label_smoothing=smoothing)

    return cross_entropy


def _build_accuracy() -> Any:
    import keras

    def accuracy(truth: Any, answers: Any) -> Any:
        if len(truth.shape) > 1 and truth.shape[-1] > 1:
            truth = keras.ops.argmax(truth, -1)
        wanted = keras.ops.cast(keras.ops.reshape(truth, (-1,)), "int64")
        return keras.ops.cast(wanted == keras.ops.cast(keras.ops.argmax(answers, -1), "int64"), "float32")

    return accuracy


@contextmanager
def _compute_in(model: Any, precision: str) -> Iterator[None]:
    """Layers compute in `precision`, but those that scale the input and the last, whose answers are summed up."""
    import keras

    if precision == FLOAT32:
        yield
        return
    kept = (keras.layers.Rescaling, keras.layers.Normalization, keras.layers.InputLayer)
    layers = [each for each in model._flatten_layers(include_self=False) if not isinstance(each, kept)]
    chosen = [each for each in layers[:-1] if not hasattr(each, "layers")]
    before = [each.dtype_policy for each in chosen]
    for layer in chosen:
        layer.dtype_policy = precision
    try:
        yield
    finally:
        for layer, policy in zip(chosen, before, strict=True):
            layer.dtype_policy = policy


def _estimate(model: Any, batches: Batches, epochs: int, stage: Stage) -> None:
    """Says how long training will take, from a few steps that are undone."""
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    before = [variable.numpy() for variable in variables]
    model.fit(batches.train, steps_per_epoch=1, verbose=0, shuffle=False)  # traces
    steps, step = _TIMED_STEPS, 0.0
    for _ in range(2):
        started = time.monotonic()
        model.fit(batches.train, steps_per_epoch=steps, verbose=0, shuffle=False)
        step = (time.monotonic() - started) / steps
        if step * steps > _TIMED_SECONDS:
            break
        steps *= 10  # what every call of fit costs is as much as small steps
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    images = batches.images + batches.validation_images * _VALIDATION_COST
    seconds = step * batches.steps * images / batches.images * epochs
    stage.tell(
        f"about {format_seconds(seconds)} for {format_items(epochs, 'epoch')} of "
        f"{format_items(batches.steps, 'step')}; less where the "
        "validation images stop being answered better"
    )


def format_seconds(seconds: float) -> str:
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    if seconds < 100 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def _build_keeper(folder: Path, patience: int, images: int, settle: Callable[[], None] | None) -> Any:
    """What Keras' EarlyStopping does, with all it knows on disk now and then, so that a killed run goes on with it.

    `images` is how many validate.
    """
    import keras

    class Keeper(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
        def __init__(self) -> None:
            super().__init__()
            state = _read_state(folder)
            self.history: dict[str, list[float]] = state["history"]
            self.best_epoch: int = state["best_epoch"]
            self.seconds_before: float = state["seconds"]
            self._best_weights: list[Any] | None = None
            self._started = time.monotonic()
            self._written = -math.inf

        @property
        def epochs(self) -> int:
            return len(self.history.get("loss", ()))

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            # Killed between the writing of this and that of the weights, the last epoch runs again.
            self.history = {key: values[:epoch] for key, values in self.history.items()}

        def on_test_begin(self, logs: Any = None) -> None:
            if settle is not None:
                settle()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs = {key: float(value) for key, value in (logs or {}).items()}
            if not math.isfinite(logs["loss"]):
                raise ExportError("training diverged: the loss is no number any more; lower --learning-rate")
            for key in _NUMBERS:
                self.history.setdefault(key, []).append(round(logs[key], 6))
            if is_among_best(self.history["val_accuracy"], images):
                self.best_epoch = epoch + 1
                self._best_weights = self.model.get_weights()
            if epoch + 1 - find_last_gain(self.history["val_accuracy"], self.history["val_loss"]) >= patience:
                self.model.stop_training = True

        def write(self) -> bool:
            """Writes the best weights and what else it knows, unless that was done lately."""
            if time.monotonic() - self._written < _BACKUP_SECONDS:
                return False
            if self._best_weights is not None:
                # Renamed, because a killed process may have written half of it.
                new = folder / f"new-{_BEST}"
                with new.open("wb") as file:
                    np.savez(file, *self._best_weights)
                new.rename(folder / _BEST)
            state = {
                "history": self.history,
                "best_epoch": self.best_epoch,
                "seconds": self.seconds_before + time.monotonic() - self._started,
            }
            write_json(folder / _STATE, state)
            self._written = time.monotonic()
            return True

        def restore_best(self) -> None:
            if self._best_weights is not None:
                self.model.set_weights(self._best_weights)
            elif (folder / _BEST).exists():
                with np.load(folder / _BEST) as weights:
                    self.model.set_weights([weights[name] for name in weights.files])

    return Keeper()


def _build_backup(folder: Path, keeper: Any) -> Any:
    """Writes all that training changes, the file before that kept: a kill may cut one short."""
    import keras

    class Backup(keras.callbacks.BackupAndRestore):  # type: ignore[misc]  # Keras is untyped
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if keeper.write():
                super().on_epoch_end(epoch, logs)

    return Backup(str(folder / _BACKUP), double_checkpoint=True, delete_checkpoint=False)


def _read_state(folder: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads((folder / _STATE).read_bytes())
    except (OSError, ValueError):
        return {"history": {}, "best_epoch": 0, "seconds": 0.0}
    return state


def _build_logs(log: Path | None, append: bool) -> list[Any]:
    import keras

    if log is None:
        return []
    log.parent.mkdir(parents=True, exist_ok=True)
    logs = [keras.callbacks.CSVLogger(str(log.with_suffix(".csv")), append=append)]
    if find_spec("tensorboard") is not None:
        logs.append(keras.callbacks.TensorBoard(str(log.with_suffix(""))))
    return logs


def _build_reporter(stage: Stage, epochs: int, steps: int, brief: bool) -> Any:
    import keras

    class Reporter(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
        epoch = 0
        first = 0
        started = 0.0

        def on_train_begin(self, logs: Any = None) -> None:
            self.started = 0.0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.epoch = epoch
            if not self.started:
                self.first, self.started = epoch, time.monotonic()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            done = self.epoch * steps + batch + 1
            stage.advance(done, epochs * steps, f"epoch {self.epoch + 1}/{epochs}, {_format(logs)}")

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if brief:
                return
            spent = (time.monotonic() - self.started) / (epoch + 1 - self.first)
            left = spent * (epochs - epoch - 1)
            text = f"epoch {epoch + 1}/{epochs}: {_format(logs)}; validation: {_format(logs, 'val_')}"
            stage.line(f"{text}; at most {format_seconds(left)} left" if left else text)

    return Reporter()


def _format(logs: Any, prefix: str = "") -> str:
    return f"loss {logs[f'{prefix}loss']:.3f}, accuracy {logs[f'{prefix}accuracy']:.3f}"
