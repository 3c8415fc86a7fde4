"""What several families are built from, and the row of a network that is built here."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from export.architectures.applications import LARGE, TORCH
from export.architectures.architecture import Architecture, Recipe, Scaling, Shape


@dataclass(frozen=True, slots=True)
class InvertedBottlenecks:
    """A row of a block table: `repeats` inverted bottlenecks of `channels` outputs, the first of them with `stride`."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


def own_network(
    name: str,
    build: Callable[[Shape, int], Any],
    parameters: int,
    *,
    family: str,
    year: int,
    source: str,
    count: str,
    trainable: int | None = None,
    input_size: int = 224,
    smallest_size: int = 32,
    classes: int = 1000,
    scaling: Scaling = TORCH,
    recipe: Recipe = LARGE,
    accuracy: tuple[float, float, str] | None = None,
    auxiliary: Callable[[Any], tuple[Any, ...]] | None = None,
) -> Architecture:
    """The row of a network that nobody's package builds for Keras; `count` says who published `parameters`, or
    `trainable` where only those are counted. `accuracy` is top-1, top-5 and who measured them, with weights that nobody
    has for Keras.
    """
    top1, top5, measured_by = accuracy or (None, None, "")
    return Architecture(
        name=name,
        family=family,
        year=year,
        build=build,
        input_size=input_size,
        smallest_size=smallest_size,
        channels=3,
        scaling=scaling,
        recipe=recipe,
        parameters=parameters,
        trainable=trainable,
        classes=classes,
        top1=top1,
        top5=top5,
        measured_by=measured_by,
        source=f"{source}; count: {count}",
        auxiliary=auxiliary,
    )


def open_input(shape: Shape, smallest: int) -> Any:
    """The symbolic image, float32 [N, height, width, channels]. Raises ValueError where it is below `smallest`."""
    from keras import layers

    if min(shape[:2]) < smallest:
        raise ValueError(f"the input has to be at least {smallest}x{smallest}, got {shape[0]}x{shape[1]}")
    return layers.Input(shape, name="tensor")


def close_network(image: Any, features: Any, classes: int, name: str) -> Any:
    """A model from `image` to probabilities, by one dense layer over `features`, float32 [N, D]."""
    from keras import Model, layers

    return Model(image, layers.Dense(classes, activation="softmax", name="predictions")(features), name=name)


def convolve_normalize(
    x: Any,
    filters: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    *,
    name: str,
    groups: int = 1,
    padding: str = "same",
    relu: bool = True,
    epsilon: float = 1e-5,
    bias: bool = False,
) -> Any:
    """Convolution, batch norm and, where `relu`, a rectifier. Padding is symmetric where it is "same" and the stride
    is not 1, as papers and PyTorch have it; Keras' own would pad more at the end.
    """
    from keras import layers

    if padding == "same" and stride > 1 and kernel != 1:
        x, padding = pad(x, kernel, f"{name}_conv"), "valid"
    convolution = layers.Conv2D(
        filters, kernel, stride, padding=padding, groups=groups, use_bias=bias, name=f"{name}_conv"
    )
    if groups > 1:
        leave_to_tensorflow(convolution)
    x = convolution(x)
    x = layers.BatchNormalization(epsilon=epsilon, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def leave_to_tensorflow(convolution: Any) -> None:
    """Has TensorFlow compute a keras.layers.Conv2D in groups, where it has the gradient; weights stay as they are.

    Keras puts each into a function that XLA has to compile: for every new batch size, in a graph that is meant to be
    flat. A step of 3x3 over float32 [32, 8, 8, 128] in 32 groups takes it 2,100 ms on a CPU, and TensorFlow 3
    (Keras 3.15, TensorFlow 2.21).
    """
    compute_by_xla = convolution.convolution_op

    def convolve(inputs: Any, kernel: Any) -> Any:
        import tensorflow as tf

        if not _has_gradient_in_groups(tf.as_dtype(inputs.dtype).name):
            return compute_by_xla(inputs, kernel)
        return tf.nn.conv2d(inputs, kernel, convolution.strides, convolution.padding.upper())

    convolution.convolution_op = convolve


@functools.cache
def _has_gradient_in_groups(dtype: str) -> bool:
    """Whether TensorFlow can train convolutions in groups on this machine: on CPUs oneDNN does, and it is not in every
    build; of float16 it does not.
    """
    import tensorflow as tf

    with tf.init_scope():  # for once, whatever is traced meanwhile
        inputs, kernel = tf.zeros((1, 1, 1, 2), dtype), tf.zeros((1, 1, 1, 2), dtype)
        with tf.GradientTape() as tape:
            tape.watch((inputs, kernel))
            outputs = tf.nn.conv2d(inputs, kernel, 1, "VALID")
        try:
            tape.gradient(outputs, (inputs, kernel))
        except tf.errors.InvalidArgumentError:
            return False
    return True


def pad(x: Any, kernel: int | tuple[int, int], name: str) -> Any:
    """Zeros around the image, so that a window of `kernel` is centred on every pixel of it."""
    from keras import layers

    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    return layers.ZeroPadding2D((height // 2, width // 2), name=f"{name}_pad")(x)


def pool_max(x: Any, stride: int = 2, *, name: str) -> Any:
    """The largest of 3x3, as far out as the image reaches."""
    from keras import layers

    return layers.MaxPooling2D(3, stride, padding="same", name=name)(x)


def normalize_responses(x: Any, size: int = 5, bias: float = 2.0, alpha: float = 1e-4) -> Any:
    """x / (bias + alpha * sum of x^2 over `size` neighbouring channels) ^ 0.75: AlexNet's local response normalization,
    with its constants (Krizhevsky et al., 2012, section 3.3).

    The power is two square roots: XNNPACK has no kernel for powers, and the layer takes 0.24 ms for 0.82 ms at
    28x28x192 on one thread.
    """
    from keras import ops

    channels, reach = x.shape[-1], size // 2
    squares = ops.pad(ops.square(x), ((0, 0), (0, 0), (0, 0), (reach, reach)))
    total = squares[..., :channels]
    for place in range(1, size):
        total = total + squares[..., place : place + channels]
    root = ops.rsqrt(bias + alpha * total)
    return x * root * ops.sqrt(root)
