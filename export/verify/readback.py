"""A staged version as its users will find it: read from disk, called through its signatures."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from export.convert.litert import LiteModel
from export.errors import ExportError
from export.memory import release_memory
from export.quiet import silenced
from service.repository.manifest import FEATURES, SAVED_MODEL, TFLITE

_AT_ONCE = 8
"""Images: the maps of a large network take some 100 MB for each."""

Outputs = dict[str, Any]
"""Arrays by alias, a row an image."""

Loaded = TypeVar("Loaded")


def run_in_batches(run: Callable[[Any], Outputs], rows: Any) -> Outputs:
    """What `run` answers to a few of `rows` at a time, joined."""
    answers = [run(rows[start : start + _AT_ONCE]) for start in range(0, len(rows), _AT_ONCE)]
    return {alias: np.concatenate([answer[alias] for answer in answers]) for alias in answers[0]}


class Readback:
    """Both engines' view of one version folder. Raises ExportError where either cannot load it.

    The SavedModel runs in a session, as in TensorFlow Serving, and with one signature at a time:
    `tf.saved_model.load` makes a function of each, and every function holds weights of its own. EfficientNet-Lite0
    with five signatures took 680 MB more than before the check, and takes 190 this way.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened = ""
        """The signature that the session is for."""
        self._session: Any = None
        self._definitions = self._load(lambda: _read_definitions(folder))
        self._lite = self._load(lambda: LiteModel(folder / TFLITE, os.cpu_count() or 1))

    @property
    def has_features(self) -> bool:
        return FEATURES in self._definitions

    def saved_model(self, signature: str, rows: Any) -> Outputs:
        """Outputs by alias for `rows`, fed to the signature's only input (bytes: an object array)."""
        if self._opened != signature:
            self._opened, self._session = "", None
            release_memory()
            self._session, self._opened = self._load(self._open), signature
        session, definition = self._session, self._definitions[signature]
        (given,) = definition.inputs.values()
        wanted = {alias: info.name for alias, info in definition.outputs.items()}
        return run_in_batches(lambda some: session.run(wanted, {given.name: some}), rows)

    def lite(self, signature: str, rows: Any) -> Outputs:
        """The same through LiteRT, which knows the numeric signatures only."""
        return run_in_batches(lambda some: self._lite.run(signature, some), rows)

    def _open(self) -> Any:
        """A session with all of the graph, of which it prepares what it is asked. It ends with its last reference."""
        import tensorflow as tf

        v1, graph = tf.compat.v1, tf.Graph()
        session = v1.Session(graph=graph)
        with graph.as_default():
            v1.saved_model.load(session, [v1.saved_model.tag_constants.SERVING], str(self._folder))
        return session

    @staticmethod
    def _load(load: Callable[[], Loaded]) -> Loaded:
        import tensorflow as tf

        try:
            with silenced():
                return load()
        except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
            raise ExportError(f"the exported model cannot be read back: {error}") from error


def _read_definitions(folder: Path) -> Any:
    """The SavedModel's signatures by name, as protobuf has them."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        (meta_graph,) = saved_model_pb2.SavedModel.FromString((folder / SAVED_MODEL).read_bytes()).meta_graphs
    except DecodeError as error:
        raise ValueError(str(error)) from error
    definitions = {}
    for name, definition in meta_graph.signature_def.items():
        definitions[name] = type(definition)()
        definitions[name].CopyFrom(definition)  # one that is part of the graph keeps all of it
    return definitions
