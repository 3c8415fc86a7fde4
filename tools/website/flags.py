"""docs/reference/flags.md: every flag of every program, as its own parser has them."""

import argparse
import re
import runpy
import sys
from collections.abc import Iterator
from unittest import mock

PROGRAMS = (
    "service",
    "service keys",
    "service sync",
    "service profile",
    "service healthcheck",
    "export",
    "export advise",
    "export augment",
    "export describe",
    "export explain",
    "export.tfserving",
    "loadtest",
    "loadtest.report",
    "loadtest.sizing",
    "image_model_client predict",
)


class _Asked(BaseException):
    """Ends a program at its --help, with its parser. No `except Exception` on the way holds it."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def read_parser(program: str) -> argparse.ArgumentParser:
    """The parser of `python -m PROGRAM`, which runs in this process up to its --help."""
    module, *subcommand = program.split()

    def interrupt(parser: argparse.ArgumentParser, file: object = None) -> None:
        raise _Asked(parser)

    with (
        mock.patch.object(sys, "argv", [module, *subcommand, "--help"]),
        mock.patch.object(argparse.ArgumentParser, "print_help", interrupt),
    ):
        try:
            runpy.run_module(module, run_name="__main__")
        except _Asked as asked:
            return asked.parser
    raise RuntimeError(f"python -m {program} --help: expected a parser of argparse, got none")


def write_flags() -> str:
    parts = [
        "Flags of `python -m service` are environment variables too: `--http-port` is `SERVICE_HTTP_PORT`. Arguments "
        "without dashes come in the order of the table."
    ]
    for program in PROGRAMS:
        parser = read_parser(program)
        parts.append(f"## `python -m {program}`\n\n{escape(_join_lines(parser.description or ''))}")
        parts.extend(_describe_groups(parser))
    return "\n\n".join(parts)


def _describe_groups(parser: argparse.ArgumentParser) -> Iterator[str]:
    for group in parser._action_groups:
        rows = [
            f"| {_name(action)} | {escape(_explain(parser, action))} |"
            for action in group._group_actions
            if action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction)
        ]
        if rows:
            title = group.title or ""
            heading = (
                f"**{title[:1].upper()}{title[1:]}**\n\n" if title not in ("options", "positional arguments") else ""
            )
            yield heading + "\n".join(["| flag | meaning |", "| :--- | :--- |", *rows])


def _name(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else _show_value(action)
    if not action.option_strings:
        return f"`{value}`"
    first, *others = action.option_strings
    named = f"{first} {value}".strip()
    return ", ".join(f"`{name}`".replace("|", "\\|") for name in (named, *others))


def _show_value(action: argparse.Action) -> str:
    if isinstance(action, argparse.BooleanOptionalAction):
        return ""
    if isinstance(action.metavar, tuple):
        return " ".join(action.metavar)
    if action.metavar is not None:
        return action.metavar
    if action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return action.dest.upper() if action.option_strings else action.dest


def _explain(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    return _join_lines(parser._get_formatter()._expand_help(action)) if action.help else ""


def _join_lines(text: str) -> str:
    return " ".join(text.split())


def escape(text: str) -> str:
    """Plain text as Markdown that fits into a table. Code in backticks stays; a page of docs/ becomes a link."""
    parts = re.split(r"(`[^`]*`)", text)
    plain = (part if index % 2 else re.sub(r"([*_<\[\]])", r"\\\1", part) for index, part in enumerate(parts))
    linked = re.sub(r"docs/([\w-]+\.md)", r"[\1](../\1)", "".join(plain))
    return linked.replace("|", "\\|")
