"""Who answers: this distribution's name and version."""

from functools import cache

NAME = "image-model-server"


@cache
def version() -> str:
    """As installed; "unknown" for a source tree that nobody installed."""
    from importlib import metadata  # it takes a quarter of the time of a command's --help

    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "unknown"
