"""The parser of every command of the exporter."""

import argparse
from typing import NoReturn

from export.errors import UsageError


class Parser(argparse.ArgumentParser):
    """Takes whole flags only, and raises UsageError instead of ending the process."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(prog=command, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")
