"""The parser of every command of the exporter."""

import argparse
from typing import NoReturn

from export.errors import UsageError
from service.command_line import HelpFormatter, add_version_flag, name_program, suggest_flags

_CODES = "exit codes: 0 done, 1 it failed, 2 for arguments that make no sense, 130 after Ctrl-C"


class Parser(argparse.ArgumentParser):
    """Takes whole flags only, and raises UsageError instead of ending the process."""

    def __init__(self, command: str, description: str, example: str = "", usage: str | None = None) -> None:
        """`command` is what goes behind `python -m`; `example` and `usage` what goes behind that."""
        program = name_program(command)
        super().__init__(
            prog=program,
            usage=usage and f"{program} {usage}",
            description=description,
            epilog=f"Example: %(prog)s {example}\n{_CODES}" if example else _CODES,
            formatter_class=HelpFormatter,
            allow_abbrev=False,
        )
        add_version_flag(self)

    def add_topic(self, heading: str, example: str) -> argparse._ArgumentGroup:
        """A group of flags below a line that shows how they are used."""
        return self.add_argument_group(heading, f"Example: %(prog)s {example}")

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{suggest_flags(message, self)}; see --help")
