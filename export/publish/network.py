"""The trained network in its version, as Keras keeps it: `--weights` of another export, or somebody's next training."""

from pathlib import Path
from typing import Any

NETWORK = Path("assets.extra", "network.keras")


def write(folder: Path, model: Any) -> None:
    """Writes `assets.extra/network.keras`: float32 weights, everything trainable, nothing of an optimizer's."""
    model.trainable = True
    (folder / NETWORK).parent.mkdir(parents=True, exist_ok=True)
    model.save(folder / NETWORK)
