"""YAML as plain values that remember their lines, so that every complaint can name one."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import yaml

_MOST_VALUES = 100_000
_LONGEST = 500  # characters
_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null")}

Place = tuple[str | int, ...]
"""Where a value is in a document: keys and indexes from the top."""


class RoutesError(Exception):
    """What is wrong with a file of routes, in one line that names the place, whatever the file holds."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split())[:_LONGEST])


@dataclass(frozen=True, slots=True)
class Document:
    value: Any
    lines: dict[Place, int]

    def error(self, place: Place, message: str) -> RoutesError:
        """At `place`, or at the nearest thing around it that has a line."""
        near = place
        while near and near not in self.lines:
            near = near[:-1]
        return RoutesError(f"line {self.lines.get(near, 1)}, {spell(place)}: {message}")


def spell(place: Place) -> str:
    """routes.digits.split[1].weight"""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "the file"


def read(text: str) -> Document:
    """Raises RoutesError for what is no YAML, and for a key given twice, which YAML itself would let pass."""
    lines: dict[Place, int] = {}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return Document(None if node is None else _value(node, (), lines, ()), lines)
    except RecursionError as error:
        raise RoutesError("nested too deep to be routes") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RoutesError(f"line {line}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise RoutesError(str(error)) from error


def _value(node: yaml.Node, place: Place, lines: dict[Place, int], around: tuple[yaml.Node, ...]) -> Any:
    lines.setdefault(place, node.start_mark.line + 1)
    if node in around:
        raise RoutesError(f"line {node.start_mark.line + 1}, {spell(place)}: it contains itself")
    if node.tag not in _PLAIN:
        raise RoutesError(f"line {node.start_mark.line + 1}, {spell(place)}: {node.tag!r} is nothing known here")
    if len(lines) > _MOST_VALUES:  # anchors can make much of little
        raise RoutesError(f"more than {_MOST_VALUES:,} values")
    around = (*around, node)
    if isinstance(node, yaml.MappingNode):
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = _scalar(key_node)
            line = key_node.start_mark.line + 1
            if not isinstance(key, Hashable):
                raise RoutesError(f"line {line}, {spell(place)}: a key is a name")
            if key in found:
                raise RoutesError(f"line {line}, {spell((*place, str(key)))}: given twice; keep one of them")
            lines[(*place, str(key))] = line
            found[key] = _value(value_node, (*place, str(key)), lines, around)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*place, index), lines, around) for index, item in enumerate(node.value)]
    return _scalar(node)


def _scalar(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError) as error:
        raise RoutesError(f"line {node.start_mark.line + 1}: {getattr(error, 'problem', error)}") from error
    finally:
        loader.dispose()
