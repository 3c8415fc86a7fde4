"""Who answers: this distribution's name and version."""

from functools import cache

NAME = "image-model-server"


def version() -> str:
    """As installed; "unknown" for a source tree that nobody installed."""
    return find_version(NAME) or "unknown"


@cache
def find_version(package: str) -> str:
    """Of an installed distribution; empty where it is not installed."""
    from importlib import metadata  # it takes a quarter of the time of a command's --help

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
