"""TensorFlow without its noise: native libraries write to file descriptor 2, past Python's logging."""

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silenced() -> Iterator[None]:
    """Nothing reaches stderr inside; where the block fails, the last of it becomes a note on the error.

    For the whole process: keep blocks short, and give progress displays a duplicate of the descriptor.
    """
    with tempfile.TemporaryFile() as heard, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(heard.fileno(), 2)
        try:
            yield
        except BaseException as error:
            heard.seek(0)
            text = heard.read().decode("utf-8", "replace")[-2000:].strip()
            if text:
                error.add_note(f"stderr said:\n{text}")
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def import_tensorflow(trains: bool = True) -> None:
    """Imports TensorFlow and Keras (some 10 s on a small machine), both told to log errors only.

    oneDNN's allocator keeps for later all memory that tensors ever had. Where nothing `trains`, tensors get theirs from
    the system, and give it back: ResNet50 as it is was converted beside 0.4 GB instead of 1.2. Training would take a
    quarter more processor time.
    """
    if not trains:
        os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # or no other process could time a model on it
    with silenced():
        import absl.logging
        import keras
        import tensorflow as tf

        absl.logging.set_verbosity(absl.logging.ERROR)
        keras.config.disable_interactive_logging()  # else downloads print bars of their own
        tf.get_logger().setLevel("ERROR")
        tf.config.list_physical_devices()  # looks for a GPU, and says so
    warnings.filterwarnings("ignore", module=r"keras|tensorflow")
