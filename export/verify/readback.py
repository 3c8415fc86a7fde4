"""A staged version as its users will find it: read from disk, called through its signatures."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import DecodeError

from export.convert import litert
from export.convert.held_weights import LARGE
from export.convert.litert import LiteModel
from export.errors import ExportError
from export.memory import release_memory
from export.quiet import silenced
from service.repository.manifest import FEATURES, SAVED_MODEL, TFLITE

_AT_ONCE = 8
"""Images: the maps of a large network take some 100 MB for each."""

_Alias = TypeVar("_Alias")

Outputs = dict[str, Any]
"""Arrays by alias, a row an image."""


def run_in_batches(run: Callable[[Any], dict[_Alias, Any]], rows: Any) -> dict[_Alias, Any]:
    """What `run` answers to a few of `rows` at a time, joined."""
    answers = [run(rows[start : start + _AT_ONCE]) for start in range(0, len(rows), _AT_ONCE)]
    return {alias: np.concatenate([answer[alias] for answer in answers]) for alias in answers[0]}


class Readback:
    """Both engines' view of one version folder. Of a large network one of them at a time has its weights in memory.

    Asking raises ExportError where an engine cannot load it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._large = (folder / SAVED_MODEL).stat().st_size >= litert.LARGE
        self._engines: dict[type, Any] = {}

    @property
    def has_features(self) -> bool:
        return FEATURES in self._open(_SavedModel, self._folder).signatures

    def saved_model(self, signature: str, rows: Any) -> Outputs:
        """Outputs by alias for `rows`, fed to the signature's only input (bytes: an object array)."""
        engine = self._open(_SavedModel, self._folder)
        return run_in_batches(lambda some: engine.run(signature, some), rows)

    def run_together(self, signatures: Sequence[str], rows: Any) -> dict[str, Outputs]:
        """The same by signature, for several that have one input: each gives all of its outputs, in one run."""
        engine = self._open(_SavedModel, self._folder)
        given = run_in_batches(lambda some: engine.run_together(signatures, some), rows)
        return {
            signature: {alias: values for (owner, alias), values in given.items() if owner == signature}
            for signature in signatures
        }

    def lite(self, signature: str, rows: Any) -> Outputs:
        """The same through LiteRT, which knows the numeric signatures only."""
        engine = self._open(LiteModel, self._folder / TFLITE, os.cpu_count() or 1)
        return run_in_batches(lambda some: engine.run(signature, some), rows)

    def _open(self, kind: type, *given: Any) -> Any:
        import tensorflow as tf

        if kind in self._engines:
            return self._engines[kind]
        if self._large and self._engines:
            self._engines.clear()
            release_memory()
        try:
            with silenced():
                engine = kind(*given)
        except (OSError, ValueError, RuntimeError, DecodeError, tf.errors.OpError) as error:
            raise ExportError(f"the exported model cannot be read back: {error}") from error
        if self._large:
            release_memory()  # what loading took beside the weights
        return self._engines.setdefault(kind, engine)


class _SavedModel:
    """A frozen SavedModel whose large weights are fed to its graph with the images, as they lie in the file.

    TensorFlow's own ways to load one keep the weights several times for each signature (ResNet50: 4 GB).
    """

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf
        from tensorflow.core.protobuf import saved_model_pb2

        document = saved_model_pb2.SavedModel.FromString((folder / SAVED_MODEL).read_bytes())
        meta_graph = next(each for each in document.meta_graphs if tf.saved_model.SERVING in each.meta_info_def.tags)
        # By name: input and outputs as tensors are called. A message kept would keep the document, weights and all.
        self.signatures = {
            name: (
                next(each.name for each in definition.inputs.values()),
                {alias: each.name for alias, each in definition.outputs.items()},
            )
            for name, definition in meta_graph.signature_def.items()
        }
        self._weights = _take_weights(meta_graph.graph_def)
        graph = tf.Graph()
        with graph.as_default():
            tf.graph_util.import_graph_def(meta_graph.graph_def, name="")
        self._session = tf.compat.v1.Session(graph=graph)

    def run(self, signature: str, rows: Any) -> Outputs:
        return {alias: values for (_, alias), values in self.run_together([signature], rows).items()}

    def run_together(self, signatures: Sequence[str], rows: Any) -> dict[tuple[str, str], Any]:
        """Outputs by signature and alias."""
        (fed,) = {self.signatures[each][0] for each in signatures}
        fetched = {(each, alias): name for each in signatures for alias, name in self.signatures[each][1].items()}
        outputs: dict[tuple[str, str], Any] = self._session.run(fetched, {**self._weights, fed: rows})
        return outputs


def _take_weights(graph: Any) -> dict[str, Any]:
    """Large constants by the name of their tensor, whose node has zeros from then on."""
    import tensorflow as tf

    taken = {}
    for node in graph.node:
        if node.op == "Const" and len(node.attr["value"].tensor.tensor_content) >= LARGE:
            taken[f"{node.name}:0"] = tf.make_ndarray(node.attr["value"].tensor)
            node.attr["value"].tensor.ClearField("tensor_content")
    return taken
