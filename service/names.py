"""Names of models and of their signatures. Command lines check them, which need no arrays."""

import re

DEFAULT_SIGNATURE = "serving_default"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_model_name(name: str) -> bool:
    """True for names that are safe as a folder, a URL segment and a metric label."""
    return _NAME.fullmatch(name) is not None
