"""What freezing and folding take out of a graph, counted operation by operation."""

from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from export.architectures import ARCHITECTURES
from export.convert import freeze, held_weights, signatures
from export.data import pixels

LABELS = tuple("0123456789")
SIZE = 64


def operations(graph: Any) -> Counter[str]:
    return Counter(node.op for node in graph.node)


def probabilities(graph_def: Any, images: Any) -> Any:
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.graph_util.import_graph_def(graph_def, name="")
        return session.run("probabilities:0", {"image:0": images})


def test_batch_norms_fold_into_the_convolutions_before_them() -> None:
    keras.utils.set_random_seed(0)
    row = ARCHITECTURES["mobilenet_v3_small"]
    model = row.build(row.shape(SIZE), len(LABELS))
    for layer in model.layers:  # statistics that are not 0 and 1: folding them must cost no accuracy
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.moving_mean.shape
            layer.moving_mean.assign(np.random.default_rng(0).normal(0, 0.1, shape))
            layer.moving_variance.assign(np.random.default_rng(1).uniform(0.5, 1.5, shape))
    frozen = freeze.freeze(signatures.chain(model, row, SIZE, LABELS)).as_graph_def()
    folded = freeze.folded(frozen)
    before, after = operations(frozen), operations(folded)
    norms = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)
    assert before["Rsqrt"] == norms == 34 and after["Rsqrt"] == 0
    assert sum(after.values()) < sum(before.values()) / 2
    for op in ("Conv2D", "DepthwiseConv2dNative", "Softmax", "StatelessWhile"):
        assert before[op] == after[op] > 0, op
    assert before["Mul"] - after["Mul"] > norms and before["Sub"] - after["Sub"] >= norms
    assert not {op for op in after if "Variable" in op or "Dropout" in op or "Call" in op}
    images = np.random.default_rng(2).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)
    np.testing.assert_allclose(probabilities(folded, images), probabilities(frozen, images), atol=1e-5)


def test_weights_held_out_of_the_graph_are_constants_of_the_saved_model(tmp_path: Path) -> None:
    """Without a batch norm nothing folds, and large weights enter last; TensorFlow's own loader reads them."""
    row = ARCHITECTURES["lenet5"]
    model = row.build(row.shape(28), len(LABELS))
    assert not held_weights.fold(model)
    freeze.write_saved_model(tmp_path, model, row, 28, LABELS)
    loaded = tf.saved_model.load(str(tmp_path))
    found = operations(loaded.graph.as_graph_def())
    assert found["Const"] > 0 and not {op for op in found if "Variable" in op or op == "ImmutableConst"}
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 3), np.uint8)
    wanted = model(pixels.to_tensor(images, row), training=False)
    np.testing.assert_allclose(loaded.signatures["image"](image=images)["probabilities"], wanted, atol=1e-5)


def test_constants_wait_for_nothing_that_a_signature_is_given() -> None:
    graph = tf.compat.v1.GraphDef()
    graph.node.add(name="tensor", op="Placeholder")
    graph.node.add(name="checked", op="NoOp")
    graph.node.add(name="weights", op="Const", input=["^tensor", "^checked"])
    graph.node.add(name="probabilities", op="Identity", input=["tensor", "^tensor"])
    freeze._free_constants(graph, ("tensor", "probabilities"))
    assert [list(node.input) for node in graph.node] == [[], [], ["^checked"], ["tensor", "^tensor"]]
