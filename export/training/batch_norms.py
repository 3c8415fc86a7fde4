"""The moving statistics of batch norms: averages over the training images, and whether given ones are stale."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from export.architectures.architecture import Architecture
from export.data import mapped, pixels
from export.data.dataset import Split
from export.progress import Stage

STALE = 0.1
"""Nats by which given statistics may be from those of the training images, in the median over all channels: a variance
off by a factor of 1.8, or a mean by 0.45 deviations. MobileNetV3Small after six epochs of digits, its averages not yet
caught up, is 0.4 apart and right on 10 % of them, re-estimated on 96 %; against other pictures it is 0.003 apart."""

_BATCH = 32
_SMALLEST_BATCH = 8
"""For a glance, of large images: a variance is then off by an eighth at most, which is far from stale."""
_MOST = 256 * _BATCH
_GLANCE = 8 * _BATCH
"""Images."""
_FEWEST = 32
"""Images below which a glance says nothing: the deepest layers see each of them once."""


def re_estimate(
    model: Any, norms: Sequence[Any], architecture: Architecture, split: Split, seed: int, stage: Stage
) -> None:
    """Replaces the moving mean and variance of `norms` by averages over training images.

    A momentum of 0.999 needs thousands of steps to forget where it started: after a few hundred
    the network is right in training and wrong in use. Momentum i/(i+1) makes the moving average
    the plain average of batches, each normalised by its own statistics, as in training.
    """
    _average(_build_step(model, norms), norms, architecture, split, seed, stage, _MOST)


def build_catch_up(
    model: Any, norms: Sequence[Any], architecture: Architecture, split: Split, seed: int
) -> Callable[[], None]:
    """What lets the statistics of `norms` be those of the network as it is then, by a few batches: for a look in
    between.
    """
    step = _build_step(model, norms)
    return lambda: _average(step, norms, architecture, split, seed, None, _GLANCE)


def measure_staleness(
    model: Any, norms: Sequence[Any], architecture: Architecture, split: Split, seed: int, stage: Stage
) -> float:
    """How far the statistics of `norms` are from those of the training images, in nats (`STALE`); 0 if nobody can tell.

    The median over all channels of the divergence of one normal distribution from the other. Memory is that of a few
    images at once: for EfficientNet-Lite0 at 224x224, 32 take 370 MB more than 8.
    """
    if not norms or len(split.classes) < _FEWEST:
        return 0.0
    given = [(norm.moving_mean.numpy(), norm.moving_variance.numpy()) for norm in norms]
    batch = max(_SMALLEST_BATCH, pixels.choose_batch(split.images.shape[1]))
    _average(_build_step(model, norms), norms, architecture, split, seed, stage, _GLANCE, batch)
    apart = []
    for norm, (mean, variance) in zip(norms, given, strict=True):
        ratio = (norm.moving_variance.numpy() + norm.epsilon) / (variance + norm.epsilon)
        shift = (norm.moving_mean.numpy() - mean) ** 2 / (variance + norm.epsilon)
        apart.append((ratio + shift - 1 - np.log(ratio)) / 2)
        norm.moving_mean.assign(mean)
        norm.moving_variance.assign(variance)
    return float(np.median(np.concatenate(apart)))


def list_norms(layers: Sequence[Any]) -> list[Any]:
    import keras

    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]


def _build_step(model: Any, norms: Sequence[Any]) -> Any:
    """(float32 [n, H, W, channels], a momentum) -> None: the statistics of `norms` move towards those of these images.

    A graph, because `model` called without one keeps the maps of all of its layers until the last: for a batch of 32
    images of 224x224, a process with EfficientNet-Lite0 then takes 3.8 GB, and 1.3 this way.
    """
    import tensorflow as tf

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]  # TensorFlow is untyped
    def step(images: Any, momentum: Any) -> None:
        for norm in norms:
            norm.momentum = momentum
        model(images, training=True)

    return step


def _average(
    step: Callable[[Any, Any], None],
    norms: Sequence[Any],
    architecture: Architecture,
    split: Split,
    seed: int,
    stage: Stage | None,
    most: int,
    size: int = _BATCH,
) -> None:
    """Over `most` images at most, `size` at once."""
    import tensorflow as tf

    kept = [(norm.momentum, norm.trainable) for norm in norms]
    order = np.random.default_rng(seed).permutation(len(split.classes))
    batches = np.array_split(order, math.ceil(len(order) / size))[: most // size] if norms else []
    for norm in norms:
        norm.trainable = True  # a frozen one normalises by what it has, in training too
    for index, batch in enumerate(batches):
        images = pixels.to_tensor(mapped.read_rows(split.images, np.sort(batch)), architecture)
        step(images, tf.constant(index / (index + 1), tf.float32))
        if stage is not None:
            stage.advance(index + 1, len(batches), "batch norm statistics")
    for norm, (momentum, trainable) in zip(norms, kept, strict=True):
        norm.momentum, norm.trainable = momentum, trainable
