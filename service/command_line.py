"""What the command lines of all programs have in common: what they are called, `--version`, paragraphs in `--help`."""

import argparse
import sys
from difflib import get_close_matches
from pathlib import Path

from service.version import NAME, version

_SHORT_NAMES = {"service": "serve", "service keys": "keys", "service sync": "sync"}
"""`python -m NAME` -> the subcommand of `ims`, where they differ."""


class HelpFormatter(argparse.HelpFormatter):
    """Wraps each line of a description by itself, and no line that begins with "Example:", so that it can be copied."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        lines = text.splitlines()
        return "\n".join(indent + line if line.startswith("Example:") else fill(line, width, indent) for line in lines)


def name_program(module: str) -> str:
    """What people type for it: "ims keys" where `ims` runs, "python -m service keys" elsewhere."""
    called = Path(sys.argv[0])
    if called.stem == "ims" or (called.name == "__main__.py" and called.parent.name == "ims"):
        return f"ims {_SHORT_NAMES.get(module, module)}"
    return f"python -m {module}"


def suggest_flags(message: str, parser: argparse.ArgumentParser) -> str:
    """An error of argparse, with the flags that were probably meant where it does not know one."""
    flags = [name for action in parser._actions for name in action.option_strings if name.startswith("--")]
    given = [word.partition("=")[0] for word in message.split() if word.startswith("--")]
    close = [name for flag in given for name in get_close_matches(flag, flags, n=2)]
    if not close or not message.startswith("unrecognized arguments"):
        return message
    return f"{message} (did you mean {' or '.join(dict.fromkeys(close))}?)"


def add_version_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--version", action="version", version=f"{NAME} {version()}", help="show the installed version and end"
    )
