"""`ims SUBCOMMAND`: finds the subcommand's module, which does the rest."""

import argparse
import importlib
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from ims import completion
from ims.commands import COMMANDS, COMPLETION
from service.command_line import add_version_flag

_OWN = ("ims", "service", "export", "loadtest", "drawing")
_CODES = (
    "exit codes: 0 done, 1 it failed, 2 wrong use, 130 Ctrl-C, 143 SIGTERM in the middle; docs/command-line.md has each"
)


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if completion.is_completing():
            given = completion.read_line()
            completion.complete()
        return _dispatch(given)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in _OWN:
            raise
        command = COMMANDS.get(given[0]) if given else None
        name, package = ("ims", COMPLETION) if command is None else (f"ims {given[0]}", command.package)
        print(f"{name}: {missing} is not installed; pip install '{package}'", file=sys.stderr)
        return 1


def _dispatch(given: Sequence[str]) -> int:
    if given and (command := COMMANDS.get(given[0])):
        return int(importlib.import_module(command.module).main([*command.first, *given[1:]]))
    parser = _build_parser()
    shell = parser.parse_args(given).print_completion
    if shell is None:
        parser.error(f"expected a subcommand: {', '.join(COMMANDS)}")
    completion.print_script(shell)
    return 0


def _build_parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    about = "\n".join(f"  {name:<{width}}  {each.about}" for name, each in COMMANDS.items())
    examples = "\n".join(f"  {each.example}" for each in COMMANDS.values())
    parser = _Parser(
        "ims",
        usage="ims SUBCOMMAND [ARGUMENT]...\n       ims SUBCOMMAND --help",
        description=f"Exports image classifiers, serves them, measures them and asks them.\n\nsubcommands:\n{about}",
        epilog=f"examples:\n{examples}\n\n{_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_version_flag(parser)
    parser.add_argument(
        "--print-completion",
        choices=completion.SHELLS,
        help='print what makes a shell complete subcommands and flags: eval "$(ims --print-completion bash)"',
    )
    parser.add_argument("subcommand", choices=COMMANDS, nargs="?", help=argparse.SUPPRESS)
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"ims: {message}; see ims --help\n")


def run() -> NoReturn:
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    run()
