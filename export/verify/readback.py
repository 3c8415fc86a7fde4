"""A staged version as its users will find it: read from disk, called through its signatures."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from export.convert.litert import LiteModel
from export.errors import ExportError
from export.quiet import silenced
from service.repository.manifest import FEATURES, TFLITE

_AT_ONCE = 8
"""Images: the maps of a large network take some 100 MB for each."""

Outputs = dict[str, Any]
"""Arrays by alias, a row an image."""


def run_in_batches(run: Callable[[Any], Outputs], rows: Any) -> Outputs:
    """What `run` answers to a few of `rows` at a time, joined."""
    answers = [run(rows[start : start + _AT_ONCE]) for start in range(0, len(rows), _AT_ONCE)]
    return {alias: np.concatenate([answer[alias] for answer in answers]) for alias in answers[0]}


class Readback:
    """Both engines' view of one version folder. Raises ExportError where either cannot load it."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        try:
            with silenced():
                self._saved_model = tf.saved_model.load(str(folder))
                self._lite = LiteModel(folder / TFLITE, os.cpu_count() or 1)
        except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
            raise ExportError(f"the exported model cannot be read back: {error}") from error

    @property
    def has_features(self) -> bool:
        return FEATURES in self._saved_model.signatures

    def saved_model(self, signature: str, rows: Any) -> Outputs:
        """Outputs by alias for `rows`, fed to the signature's only input (bytes: an object array)."""
        import tensorflow as tf

        function = self._saved_model.signatures[signature]
        (alias,) = function.structured_input_signature[1]

        def run(some: Any) -> Outputs:
            tensor = tf.constant(list(some)) if some.dtype == object else tf.constant(some)
            return {name: value.numpy() for name, value in function(**{alias: tensor}).items()}

        return run_in_batches(run, rows)

    def lite(self, signature: str, rows: Any) -> Outputs:
        """The same through LiteRT, which knows the numeric signatures only."""
        return run_in_batches(lambda some: self._lite.run(signature, some), rows)
