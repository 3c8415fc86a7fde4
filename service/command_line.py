"""What the command lines of all programs have in common: what they are called, `--version`, paragraphs in `--help`."""

import argparse
import sys
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


def add_version_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--version", action="version", version=f"{NAME} {version()}", help="show the installed version and end"
    )
