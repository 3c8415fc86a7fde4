"""Shell completion by argcomplete, of every flag of every subcommand.

A shell that completes runs `ims` without arguments and with the line so far in its environment. The subcommand builds
its parser as ever; where it would parse, argcomplete answers from that parser instead and ends the process.
"""

import argparse
import os
import sys
from typing import Any

SHELLS = ("bash", "zsh", "fish")


def is_completing() -> bool:
    return "_ARGCOMPLETE" in os.environ


def read_line() -> list[str]:
    """The words of the line behind `ims`, without the one that is being completed."""
    from argcomplete.lexers import split_line

    line, cursor = os.environ["COMP_LINE"], int(os.environ["COMP_POINT"])
    _, _, _, words, _ = split_line(line, cursor)
    return list(words[1:])


def complete() -> None:
    """Lets the next parser that parses, or the parser of `ims` itself, answer the shell."""
    import argcomplete

    parse = argparse.ArgumentParser.parse_known_args

    def answer(parser: argparse.ArgumentParser, *_: Any) -> None:
        argparse.ArgumentParser.parse_known_args = parse  # type: ignore[method-assign] # argcomplete parses itself
        # How many words of the line name the program: "ims export advise" has three.
        os.environ["_ARGCOMPLETE"] = str(len(parser.prog.split()))
        argcomplete.autocomplete(parser)

    argparse.ArgumentParser.parse_known_args = answer  # type: ignore[method-assign, assignment]


def print_script(shell: str) -> None:
    """What a shell has to run once: `eval "$(ims --print-completion bash)"`."""
    from argcomplete.shell_integration import shellcode

    sys.stdout.write(shellcode(["ims"], shell=shell))
