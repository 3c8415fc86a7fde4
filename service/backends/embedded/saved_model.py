"""TensorFlow runs foreign SavedModels, and the signatures of exports that LiteRT does not have.

TensorFlow is imported here only, when the first such version loads. A TF1-style session over the meta graph is what
TensorFlow Serving uses too. Feeds go by tensor name, and declared shapes are not enforced: kernels abort on a wrong
rank, which `TensorSpec.check_foreign` has refused before.
"""

import asyncio
import gc
import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from service.backends.embedded.threads import Threads, run_timed
from service.backends.golden import BFLOAT16
from service.errors import BackendFailed, InvalidInput, ServiceError
from service.host.cpu import cores
from service.observability import logs
from service.protobuf import signatures
from service.protobuf.signatures import SERVE_TAG
from service.types import Array, Tensors


class SavedModelRunner:
    """One session. TensorFlow's own thread pools spread each run over the cores."""

    slots = 2  # one batch computes while the next is handed over

    def __init__(self, folder: Path, precision: str = "") -> None:
        """In bfloat16, TensorFlow computes what it deems safe in that; in any other `precision`, what the graph says.

        Raises ValueError, naming the folder, where TensorFlow cannot load it or is not installed.
        """
        try:
            tf = _tensorflow()
            from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2
        except (ImportError, AttributeError) as error:  # the images have its message modules, and nothing else of it
            raise ValueError(
                f"{folder} needs TensorFlow, which is not installed here ({error}): serve it by TensorFlow Serving "
                "(--backend tfserving), give it a model.tflite, or pip install tensorflow"
            ) from error
        config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=cores(), inter_op_parallelism_threads=cores())
        if precision == BFLOAT16:  # for this session alone, unlike TF_SET_ONEDNN_FPMATH_MODE
            rewriting = config.graph_options.rewrite_options
            rewriting.auto_mixed_precision_onednn_bfloat16 = rewriter_config_pb2.RewriterConfig.ON
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        try:
            with self._session.graph.as_default():
                meta_graph = tf.compat.v1.saved_model.loader.load(self._session, [SERVE_TAG], os.fspath(folder))
        except Exception as error:
            self._session.close()
            raise ValueError(f"TensorFlow cannot load {folder}: {error}") from error
        self._definitions = dict(meta_graph.signature_def)
        self._options = config_pb2.CallableOptions
        self._invalid = (tf.errors.InvalidArgumentError, TypeError, ValueError)
        self._callables: dict[tuple[str, tuple[str, ...], tuple[str, ...]], Callable[..., list[Any]]] = {}
        self._threads = Threads(self.slots)
        self.signatures = signatures.from_protos(self._definitions)
        self.definitions = signatures.serialize(self._definitions)

    async def run(self, signature: str, inputs: Tensors, outputs: tuple[str, ...], timeout: float | None) -> Tensors:
        return await self._threads.run(run_timed, self.call, signature, inputs, outputs)

    def call(self, signature: str, inputs: Tensors, outputs: tuple[str, ...] = ()) -> Tensors:
        """`run` for a thread that may block."""
        names = outputs or tuple(self._definitions[signature].outputs)
        try:
            values = self._callable(signature, tuple(inputs), names)(*inputs.values())
        except self._invalid as error:
            raise InvalidInput(f"the model refused its input: {_first_line(error)}") from error
        except ServiceError:
            raise
        except Exception as error:
            raise BackendFailed(f"TensorFlow failed: {_first_line(error)}") from error
        return {name: _array(value) for name, value in zip(names, values, strict=True)}

    def _callable(self, signature: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Callable[..., list[Any]]:
        key = (signature, inputs, outputs)
        if key not in self._callables:
            definition = self._definitions[signature]
            # Unlike `make_callable`, this leaves shapes to the graph, as TensorFlow Serving does (its own tests send
            # [1] where [-1, 1] is declared), and costs less a call.
            options = self._options()
            options.feed.extend(definition.inputs[alias].name for alias in inputs)
            options.fetch.extend(definition.outputs[alias].name for alias in outputs)
            self._callables[key] = self._session._make_callable_from_options(options)
        return self._callables[key]

    async def close(self) -> None:
        await self._threads.close()
        await asyncio.to_thread(self._session.close)


def freeze(folder: Path, signature: str) -> tuple[bytes, dict[str, str]]:
    """A signature's GraphDef, with its variables as constants and its functions inlined, and its tensors' names ->
    names in the signature, which has one input.

    Raises ValueError where TensorFlow cannot.
    """
    tf = _tensorflow()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    try:
        model = tf.saved_model.load(os.fspath(folder))
        function = model.signatures[signature]
        frozen = convert_variables_to_constants_v2(function)
        graph = frozen.graph.as_graph_def()
        library = {each.signature.name for each in graph.library.function}
        calls = {node.op for node in graph.node} | {
            value.func.name for node in graph.node for value in node.attr.values() if value.HasField("func")
        }
        if not library & calls:  # other signatures' functions, whose operations another engine may not know
            graph.library.Clear()
        (input_alias,) = function.structured_input_signature[1]
        (fed,) = frozen.inputs
        outputs = zip(frozen.outputs, sorted(function.structured_outputs), strict=True)
        return graph.SerializeToString(), {fed.name: input_alias} | {each.name: alias for each, alias in outputs}
    except Exception as error:
        raise ValueError(f"{folder}: signature {signature!r} cannot be frozen: {_first_line(error)}") from error


@cache
def _tensorflow() -> Any:
    """The module. Raises ImportError or AttributeError where it is missing or incomplete."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with logs.native_lines():
        import tensorflow as tf

        _ = tf.compat.v1.Session
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it logs every restore
    # Else every full collection visits its hundreds of thousands of objects, and the event loop waits.
    gc.freeze()
    return tf


def _array(value: Any) -> Array:
    # TensorFlow returns scalars of string type as plain bytes.
    return np.asarray(value, dtype=object) if isinstance(value, bytes) else np.asarray(value)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:500] or type(error).__name__
