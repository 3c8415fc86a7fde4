"""A network's features: what its classifier is given, found in the frozen graph by one rule.

The classifier is the last operation that multiplies by constants with a column a class: a MatMul, or a convolution of
1x1 whose maps are averaged, ahead of it or behind it. Its input, averaged over places where it is a map, are the
features, float32 [N, D]. A dropout ahead of it is the identity in use. The rule reads the graph and not the Keras
layers, so it holds for anybody's network.
"""

from typing import Any

from service.repository.manifest import FEATURES

_FOLLOWED = frozenset({"BiasAdd", "Identity", "Mean", "Relu", "Reshape", "Sigmoid", "Softmax", "Squeeze"})
_WITH_CONSTANTS = frozenset({"Add", "AddV2", "Mul", "RealDiv", "Sub"})


class NoFeatures(ValueError):
    """Why a network has no features: a sentence for whoever exports it."""


def add_features(graph: Any, answer: str) -> int:
    """Adds the operation FEATURES to a tf.Graph whose operation `answer` gives a number a class, float32 [N, C].

    Nothing else reads it. Returns how many features an image has. Raises NoFeatures where the classifier cannot be told
    apart.
    """
    import tensorflow as tf

    end = graph.get_operation_by_name(answer).outputs[0]
    given = _find_input(end)
    with graph.as_default():
        if given.shape.rank == 2:
            tf.identity(given, name=FEATURES)
        elif given.shape[1:3] == (1, 1):
            tf.reshape(given, (-1, given.shape[3]), name=FEATURES)
        else:
            tf.reduce_mean(given, (1, 2), name=FEATURES)
    return int(given.shape[-1])


def _find_input(end: Any) -> Any:
    """The classifier's input: [N, D], or [N, H, W, D] of a convolution."""
    classes, tensor = end.shape[-1], end
    while True:
        operation = tensor.op
        if operation.type in ("MatMul", "Conv2D"):
            return _check_classifier(operation, classes)
        if operation.type in _FOLLOWED:
            tensor = operation.inputs[0]
        elif operation.type in _WITH_CONSTANTS:
            computed = [each for each in operation.inputs if not _is_constant(each)]
            if len(computed) != 1:
                raise NoFeatures(f"several branches meet behind its last layer ({operation.type})")
            (tensor,) = computed
        else:
            raise NoFeatures(f"its answers come from {operation.type}, and from no layer with a column a class")


def _check_classifier(operation: Any, classes: int) -> Any:
    given, weights = operation.inputs
    if not _is_constant(weights) or _is_constant(given):
        raise NoFeatures("its last product is of two computed tensors")
    if operation.type == "MatMul":
        columns = weights.shape[0 if operation.get_attr("transpose_b") else 1]
        if operation.get_attr("transpose_a"):
            raise NoFeatures("its last layer takes its input transposed")
    else:
        columns = weights.shape[3]
        if weights.shape[:2] != (1, 1) or operation.get_attr("data_format") != b"NHWC":
            raise NoFeatures(f"its last layer is a convolution of {weights.shape[0]}x{weights.shape[1]}")
    if columns != classes:
        raise NoFeatures(f"its last layer has {columns} columns for {classes} classes")
    if given.shape.rank not in (2, 4) or not given.shape[-1]:
        raise NoFeatures(f"its last layer takes shape {given.shape}")
    return given


def _is_constant(tensor: Any) -> bool:
    """Also what is computed from constants alone, as batch norms are before they are folded."""
    ahead = [tensor.op]
    while ahead:
        operation = ahead.pop()
        if operation.type in ("Placeholder", "PlaceholderWithDefault"):
            return False
        ahead += [each.op for each in operation.inputs]
    return True
