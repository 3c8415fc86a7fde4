"""Names of files as text that can be printed, logged and written to JSON."""

import os
import re

_CONTROLS = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029]")


def escape(name: str | os.PathLike[str]) -> str:
    r"""A name as the system has it, with bytes that are not UTF-8 written as \xff, and control characters as \x1b.

    A terminal obeys control characters, and a line break in a name looks like another line of a log.
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return _CONTROLS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def is_text(name: str) -> bool:
    """False where some of the name's bytes are not UTF-8, and where it has control characters or line breaks."""
    return escape(name) == name
