"""A Keras model -> a SavedModel of one flat, frozen graph.

Variables become constants (measured 1.2 to 1.5 times faster on CPU, and nothing to restore), and all
signatures point into the same graph, so weights are stored once.

Every step of TensorFlow's copies the whole graph, and a large network is little else than weights: what a step made is
let go of before the next but one, and where only the graph's shape matters its weights are left out.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export.architectures.architecture import Architecture
from export.convert import features, held_weights, signatures
from export.convert.features import NoFeatures
from export.convert.held_weights import LARGE, HeldWeights
from export.memory import release_memory
from service.repository.manifest import FEATURES, SAVED_MODEL, Signature

_METHOD = "tensorflow/serving/predict"


def freeze(chain: Any) -> Any:
    """The tf.Graph of a `tf.function` with every variable that it reads turned into a constant."""
    from tensorflow.python.framework import convert_to_constants

    function = chain.get_concrete_function()
    # Control flow stays functional: lowered Switch/Merge graphs can be neither fed half-way nor converted.
    frozen = convert_to_constants.convert_variables_to_constants_v2(function, lower_control_flow=False)
    graph = frozen.graph
    del function, frozen
    release_memory()  # functions and their graphs refer to each other
    return graph


def folded(
    graph: Any,
    kept: Sequence[str] = (
        signatures.IMAGE_BYTES,
        signatures.IMAGE,
        signatures.TENSOR,
        signatures.PROBABILITIES,
        signatures.CLASSES,
    ),
) -> Any:
    """A frozen GraphDef with everything computed that can be, once here instead of at every load.

    A batch norm in inference is a product and a sum with constants: TensorFlow's own constant folding
    pushes the product into the weights of the convolution before it and leaves the sum as its bias.
    What signatures feed or fetch, which is `kept`, stays as it is.
    """
    from tensorflow.core.protobuf import config_pb2
    from tensorflow.python.grappler import tf_optimizer

    config = config_pb2.ConfigProto()
    options = config.graph_options.rewrite_options
    options.min_graph_nodes = -1  # lenet5 is small, and worth folding too
    # Not the passes that choose kernels for this machine: the server's own session does that for its.
    options.optimizers.extend(["constfold", "dependency"] * 2)
    meta_graph = [_mark_ends(graph, kept)]
    del graph
    made = tf_optimizer.OptimizeGraph(config, meta_graph.pop())  # which lets go of it as soon as it is serialized
    _free_constants(made, kept)
    return made


def _free_constants(graph: Any, kept: Sequence[str]) -> None:
    """Removes control dependencies of constants on `kept`.

    Folding a foreign graph makes constants depend on nodes of `kept`. A session that is fed the output of such a node
    then runs the node as well, and fails for lack of an image.
    """
    waits = {f"^{name}" for name in kept}
    for node in graph.node:
        if node.op == "Const" and not waits.isdisjoint(node.input):
            left = [each for each in node.input if each not in waits]
            del node.input[:]
            node.input.extend(left)


def _mark_ends(graph: Any, kept: Sequence[str]) -> Any:
    """A MetaGraphDef of a GraphDef, what signatures feed or fetch marked as not to be touched."""
    from tensorflow.core.protobuf import meta_graph_pb2

    meta_graph = meta_graph_pb2.MetaGraphDef(graph_def=graph)
    fed_or_fetched = [*kept, *(node.name for node in graph.node if node.name == FEATURES)]
    meta_graph.collection_def["train_op"].node_list.value.extend(fed_or_fetched)  # Grappler's name for "keep"
    return meta_graph


def write_saved_model(folder: Path, model: Any, architecture: Architecture, size: int, labels: tuple[str, ...]) -> str:
    """Writes `saved_model.pb` and an empty `variables/` below `folder`, which must exist.

    Returns why the network has no features, and so no signatures for them; "" where it has.

    Raises ValueError where the graph's own idea of a signature's dtype or shape is not the declared one.
    """
    held: HeldWeights = {}
    graph, width, missing = freeze(signatures.chain(model, architecture, size, labels, held)), None, ""
    try:
        width = features.add_features(graph, signatures.PROBABILITIES)
    except NoFeatures as error:
        missing = str(error)
    frozen = [graph.as_graph_def()]
    del graph
    if held_weights.fold(model):
        held_weights.fill(frozen[0], held)
        held = {}
    write_graph(folder, folded(frozen.pop()), signatures.describe(architecture, size, len(labels), width), held)
    return missing


def write_graph(folder: Path, frozen: Any, declared: Mapping[str, Signature], held: HeldWeights) -> None:
    """The same of a frozen GraphDef whose tensors are called as the `declared` signatures' aliases, and whose other
    weights are `held`. The graph loses its own meanwhile.
    """
    weights, built = _take_weights(frozen) | held_weights.leave_empty(frozen, held), folder / ".saved_model"
    _build(built, frozen, declared)
    del frozen  # which has the memory of what was taken out of it
    release_memory()
    _put_weights(built / SAVED_MODEL, weights)
    release_memory()
    for part in built.iterdir():
        part.rename(folder / part.name)
    built.rmdir()
    (folder / "variables").mkdir(exist_ok=True)


def _build(folder: Path, frozen: Any, declared: Mapping[str, Signature]) -> None:
    """Writes a SavedModel of a GraphDef into `folder`, which TensorFlow's builder insists on making itself."""
    import tensorflow as tf

    saved_model = tf.compat.v1.saved_model
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(frozen, name="")

        def infos(specs: Any) -> dict[str, Any]:
            return {alias: _info(graph, alias, spec) for alias, spec in specs.items()}

        definitions = {
            name: saved_model.signature_def_utils.build_signature_def(
                infos(signature.inputs), infos(signature.outputs), _METHOD
            )
            for name, signature in declared.items()
        }
        with tf.compat.v1.Session(graph=graph) as session:
            builder = saved_model.Builder(str(folder))
            builder.add_meta_graph_and_variables(
                session, [saved_model.tag_constants.SERVING], signature_def_map=definitions
            )
            builder.save()


def _take_weights(graph: Any) -> dict[str, Any]:
    """The bytes of large constants by the node's name; the graph has zeros in their place from then on."""
    taken = {}
    for node in graph.node:
        if node.op == "Const" and len(node.attr["value"].tensor.tensor_content) >= LARGE:
            taken[node.name] = node.attr["value"].tensor.tensor_content
            node.attr["value"].tensor.ClearField("tensor_content")
    return taken


def _put_weights(file: Path, weights: dict[str, Any]) -> None:
    """Moves them, bytes or variables, into the SavedModel `file`."""
    from tensorflow.core.protobuf import saved_model_pb2

    document = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for node in document.meta_graphs[0].graph_def.node:
        if node.name in weights:
            node.attr["value"].tensor.tensor_content = held_weights.read_bytes(weights.pop(node.name))
    file.write_bytes(document.SerializeToString())


def _info(graph: Any, alias: str, spec: Any) -> Any:
    """The TensorInfo of the tensor called `alias`, its shape as declared (the graph may know less)."""
    import tensorflow as tf

    tensor = graph.get_tensor_by_name(f"{signatures.NODES.get(alias, alias)}:0")
    if tensor.dtype.name != spec.dtype or not tensor.shape.is_compatible_with(spec.shape):
        raise ValueError(f"{alias} is {tensor.dtype.name} {tensor.shape} in the graph, declared {spec}")
    info = tf.compat.v1.saved_model.build_tensor_info(tensor)
    info.tensor_shape.CopyFrom(tf.TensorShape(spec.shape).as_proto())
    return info
