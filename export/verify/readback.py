"""A staged version as its users will find it: read from disk, called through its signatures."""

import os
from pathlib import Path
from typing import Any

from export.convert.litert import LiteModel
from export.errors import ExportError
from export.quiet import silenced
from service.repository.manifest import TFLITE


class Readback:
    """Both engines' view of one version folder. Raises ExportError where either cannot load it."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        try:
            with silenced():
                self._saved_model = tf.saved_model.load(str(folder))
                self._lite = LiteModel((folder / TFLITE).read_bytes(), os.cpu_count() or 1)
        except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
            raise ExportError(f"the exported model cannot be read back: {error}") from error

    def saved_model(self, signature: str, rows: Any) -> dict[str, Any]:
        """Outputs by alias for `rows`, fed to the signature's only input (bytes: an object array)."""
        import tensorflow as tf

        function = self._saved_model.signatures[signature]
        (alias,) = function.structured_input_signature[1]
        rows = tf.constant(list(rows)) if rows.dtype == object else tf.constant(rows)
        return {name: value.numpy() for name, value in function(**{alias: rows}).items()}

    def lite(self, signature: str, rows: Any) -> dict[str, Any]:
        """The same through LiteRT, which knows the numeric signatures only."""
        return self._lite.run(signature, rows)
