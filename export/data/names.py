"""Names of files as text that can be printed, logged and written to JSON."""

import os


def escape(name: str | os.PathLike[str]) -> str:
    r"""A name as the system has it, with bytes that are not UTF-8 written as \xff."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def is_text(name: str) -> bool:
    """False where some of the name's bytes are not UTF-8."""
    return escape(name) == name
