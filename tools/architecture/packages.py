"""Packages and files as the code has them: which imports which, and what the first sentence of each docstring says."""

import ast
import graphlib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROGRAMS = tuple(name.rstrip("*") for name in _PROJECT["tool"]["setuptools"]["packages"]["find"]["include"])
"""The packages that the project installs, the service first."""


def read_imports() -> dict[str, set[str]]:
    """Room -> the rooms that it imports, for every room of the service and every other program."""
    graph = grimp.build_graph(*PROGRAMS, cache_dir=None)
    found: dict[str, set[str]] = {}
    for module in graph.modules - set(PROGRAMS):
        room = found.setdefault(name_room(module), set())
        room |= {name_room(each) for each in graph.find_modules_directly_imported_by(module)}
    return {room: imported - {room} for room, imported in found.items()}


def name_room(module: str) -> str:
    """`service.api` of `service.api.http.door`; `export` of `export.data.digits`."""
    return ".".join(module.split(".")[: 2 if module.startswith("service.") else 1])


def reduce_transitively(imports: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The same graph without the arrows that a longer path implies. Raises graphlib.CycleError."""
    reachable: dict[str, set[str]] = {}
    for room in graphlib.TopologicalSorter(imports).static_order():
        reachable[room] = imports[room].union(*(reachable[each] for each in imports[room]))
    return {room: direct.difference(*(reachable[each] for each in direct)) for room, direct in imports.items()}


def read_summary(path: Path) -> str:
    """The first sentence of a module's docstring, on one line; empty where there is none."""
    paragraph = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n\n")[0]
    return re.split(r"(?<=[.!?])\s+(?=[A-Z`])", " ".join(paragraph.split()), maxsplit=1)[0]
