"""Who answers: this distribution's name and version."""

from functools import cache
from importlib import metadata

NAME = "image-model-server"


@cache
def version() -> str:
    """As installed; "unknown" for a source tree that nobody installed."""
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "unknown"
