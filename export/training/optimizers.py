"""Optimizers and learning rates: schedules with a warm-up, and a rate of its own for each block."""

from collections.abc import Mapping, Sequence
from typing import Any

from export.training.options import TrainingOptions

_ADAMW_DECAY = 0.01
_MOMENTUM = 0.9
_EXPONENTIAL_END = 0.01
_NOT_DECAYED = ("bias", "gamma", "beta")


def build_schedule(kind: str, rate: float, steps: int, warmup: float) -> Any:
    """A Keras schedule over `steps`: linear from 0 to `rate` in the share `warmup` of them, then `kind`."""
    import keras

    rise = round(steps * warmup)
    fall = max(1, steps - rise)
    schedules = keras.optimizers.schedules
    after = {
        "cosine": lambda: schedules.CosineDecay(rate, fall),
        "exponential": lambda: schedules.ExponentialDecay(rate, fall, _EXPONENTIAL_END),
        "constant": lambda: schedules.PiecewiseConstantDecay([fall], [rate, rate]),
    }[kind]()

    class Warmup(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]  # Keras is untyped
        def __call__(self, step: Any) -> Any:
            step = keras.ops.cast(step, "float32")
            risen = keras.ops.minimum((step + 1) / (rise + 1), 1.0)
            return risen * after(keras.ops.maximum(step - rise, 0.0))

        def get_config(self) -> dict[str, Any]:
            return {"kind": kind, "rate": rate, "steps": steps, "warmup": warmup}

    return Warmup()


def build_optimizer(
    options: TrainingOptions, rate: float, steps: int, layers: Sequence[Any], rates: Mapping[str, float]
) -> Any:
    """What trains `layers`, each at its share of `rate` (1 where `rates` does not name it)."""
    import keras

    optimizers: dict[float, Any] = {}
    for share in sorted({1.0, *rates.values()}):
        optimizers[share] = _build_one(options, build_schedule(options.schedule, rate * share, steps, options.warmup))
    if len(optimizers) == 1:
        return optimizers[1.0]
    chosen = {
        weight.path: optimizers[rates[layer.name]]
        for layer in layers
        if layer.name in rates
        for weight in layer.trainable_weights
    }
    return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(optimizers[1.0], chosen))


def _build_one(options: TrainingOptions, schedule: Any) -> Any:
    import keras

    decay = options.weight_decay
    if decay is None and options.optimizer == "adamw":
        decay = _ADAMW_DECAY
    given = {"weight_decay": decay or None}
    optimizer = {
        "adam": lambda: keras.optimizers.Adam(schedule, **given),
        "adamw": lambda: keras.optimizers.AdamW(schedule, weight_decay=decay or 0.0),
        "sgd": lambda: keras.optimizers.SGD(schedule, momentum=_MOMENTUM, nesterov=True, **given),
        "rmsprop": lambda: keras.optimizers.RMSprop(schedule, **given),
    }[options.optimizer]()
    if decay:
        optimizer.exclude_from_weight_decay(var_names=list(_NOT_DECAYED))
    return optimizer
