"""The trained network in its version, as Keras keeps it: `--weights` of another export, or somebody's next training."""

from pathlib import Path
from typing import Any

NETWORK = Path("assets.extra", "network.keras")


def write(folder: Path, model: Any) -> None:
    """Writes `assets.extra/network.keras`: float32 weights, everything trainable, nothing of an optimizer's."""
    model.trainable = True
    # What it was trained with may be ours alone; with this, Keras loads and evaluates it without our code.
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    (folder / NETWORK).parent.mkdir(parents=True, exist_ok=True)
    model.save(folder / NETWORK)
