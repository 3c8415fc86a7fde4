"""A file of routes as written, and what makes of it the values that `routes` has. Every mistake names its place."""

import math
import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from service.routing.plan import Ensemble, Route, Routes, Shadow, Weighted
from service.types import ModelRef, is_model_name

_TARGET = re.compile(r"(?P<name>[^/@]+)(/(?P<version>\d{1,18})|@(?P<label>[^/@]+))?")
_MEANS = "a target is a model or route (lenet5), a version (lenet5/2) or a label (lenet5@canary)"

_PRECISIONS = ("float32", "float16", "bfloat16", "int8", "dynamic", "mixed")  # every export's own label

_MOST_VALUES = 100_000
_LONGEST = 500  # characters
_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null")}

Place = tuple[str | int, ...]
"""Where a value is in a document: keys and indexes from the top."""


Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


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


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _keys(cls, value: Any) -> Any:
        if isinstance(value, str) and "target" in cls.model_fields:  # the short form
            return {"target": value}
        if not isinstance(value, dict):
            raise PydanticCustomError("section", f"takes keys and values ({', '.join(cls.model_fields)})")
        for key in value:
            if key not in cls.model_fields:
                near = get_close_matches(str(key), cls.model_fields, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(cls.model_fields)}"
                raise PydanticCustomError("unknown_key", "unknown key; {hint}", {"key": str(key), "hint": hint})
        return value


class _Weighted(_Section):
    target: str
    weight: Weight = 1.0


class _Ensemble(_Section):
    members: Annotated[list[_Weighted], Field(min_length=2)]
    quorum: Annotated[int, Field(ge=1)] | None = None


class _Shadow(_Section):
    target: str
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    deadline_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1000.0
    max_in_flight: Annotated[int, Field(ge=1)] = 4


class _Route(_Section):
    target: str | None = None
    split: Annotated[list[_Weighted], Field(min_length=1)] | None = None
    ensemble: _Ensemble | None = None
    labels: dict[str, Any] = {}
    fallback: list[str] = []
    shadow: _Shadow | None = None
    max_in_flight: Annotated[int, Field(ge=1)] | None = None
    max_rows: Annotated[int, Field(ge=1)] | None = None
    latency_slo_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    batching: bool = True


class _File(_Section):
    only_routes: bool = False
    routes: dict[str, _Route]


def parse(text: str) -> Routes:
    """Raises RoutesError."""
    document = read_document(text)
    if document.value is None:
        raise RoutesError("the file is empty; `routes: {}` says that there are no routes")
    try:
        file = _File.model_validate(document.value)
    except ValidationError as error:
        raise _first(document, error) from error
    by_name = {name: _route(document, name, written) for name, written in file.routes.items()}
    for name in by_name:
        if circle := _circle(by_name, (name,)):
            raise document.error(("routes", name), f"leads back to itself: {' -> '.join(circle)}")
    by_name = {name: replace(route, model=_model(by_name, route)) for name, route in by_name.items()}
    for name, written in file.routes.items():
        by_name[name] = replace(by_name[name], labels=dict(_labels(document, by_name[name], written.labels)))
    for route in by_name.values():
        _check_labels(document, by_name, route)
    return Routes(by_name, file.only_routes)


def _first(document: Document, error: ValidationError) -> RoutesError:
    problem = error.errors()[0]
    place: Place = problem["loc"]
    message = problem["msg"][:1].lower() + problem["msg"][1:]
    if problem["type"] == "unknown_key":
        place = (*place, problem["ctx"]["key"])
    if place[-1:] == ("[key]",):
        place, message = (*place[:-2], str(place[-2])), "a name that reads as a number goes in quotes"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return document.error(place, message + more)


def _route(document: Document, name: str, written: _Route) -> Route:
    place: Place = ("routes", name)
    if not is_model_name(name):
        raise document.error(place, "a route's name has letters, digits, '.', '_' and '-' only, 128 at most")
    given = [key for key in ("target", "split", "ensemble") if getattr(written, key) is not None]
    if len(given) > 1:
        raise document.error(
            (*place, given[1]), f"a route has one of target, split and ensemble, this has also {given[0]}"
        )
    split: tuple[Weighted, ...] = ()
    ensemble = None
    if written.ensemble is not None:
        ensemble = _ensemble(document, (*place, "ensemble"), written.ensemble)
    elif written.split is not None:
        split = _weighted(document, (*place, "split"), written.split)
    else:
        split = (Weighted(_target(document, (*place, "target"), written.target or name)),)
    fallback = [_target(document, (*place, "fallback", index), text) for index, text in enumerate(written.fallback)]
    # A split may well fall back on a target of its own.
    chain: list[tuple[Place, ModelRef]] = [((*place, "target"), split[0].target)] if len(split) == 1 else []
    _no_repeats(document, chain + [((*place, "fallback", index), target) for index, target in enumerate(fallback)])
    shadow = _shadow(document, (*place, "shadow"), written.shadow)
    if shadow is not None and [shadow.target] == [one.target for one in split]:
        raise document.error((*place, "shadow"), "is what answers anyway; compare with another model or version")
    return Route(
        name,
        split,
        ensemble,
        fallback=tuple(fallback),
        shadow=shadow,
        max_in_flight=written.max_in_flight,
        max_rows=written.max_rows,
        latency_slo=None if written.latency_slo_ms is None else written.latency_slo_ms / 1000,
        batching=written.batching,
    )


def _ensemble(document: Document, place: Place, written: _Ensemble) -> Ensemble:
    members = _weighted(document, (*place, "members"), written.members)
    quorum = len(members) if written.quorum is None else written.quorum
    if quorum > len(members):
        raise document.error((*place, "quorum"), f"is {quorum}, of {len(members)} members")
    return Ensemble(members, quorum)


def _weighted(document: Document, place: Place, written: list[_Weighted]) -> tuple[Weighted, ...]:
    found = tuple(
        Weighted(_target(document, (*place, index, "target"), one.target), one.weight)
        for index, one in enumerate(written)
    )
    _no_repeats(document, [((*place, index), one.target) for index, one in enumerate(found)])
    if not 0 < math.fsum(one.weight for one in found) < math.inf:
        raise document.error(place, "the weights sum up to 0; give at least one target a weight above 0")
    return found


def _no_repeats(document: Document, targets: list[tuple[Place, ModelRef]]) -> None:
    seen: set[ModelRef] = set()
    for place, target in targets:
        if target in seen:
            raise document.error(place, f"target {str(target)!r} is given twice; keep one of them")
        seen.add(target)


def _shadow(document: Document, place: Place, written: _Shadow | None) -> Shadow | None:
    if written is None:
        return None
    target = _target(document, (*place, "target"), written.target)
    return Shadow(target, written.share, written.deadline_ms / 1000, written.max_in_flight)


def _labels(document: Document, route: Route, written: Mapping[str, Any]) -> Iterator[tuple[str, ModelRef]]:
    for label, value in written.items():
        place: Place = ("routes", route.name, "labels", label)
        if not is_model_name(label) or label.isdigit():
            raise document.error(place, "a label has letters, digits, '.', '_' and '-', and is no number")
        if isinstance(value, str) and (target := _target(document, place, value)).version is not None:
            yield label, target
        elif isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise document.error(place, f"a label stands for a version, as in `{label}: 3` or `{label}: lenet5/3`")
        elif not route.model:
            raise document.error(
                place, f"the route leads to several models: say of which, as in `{label}: lenet5/{value}`"
            )
        else:
            yield label, ModelRef(route.model, value)


def _target(document: Document, place: Place, text: str) -> ModelRef:
    match = _TARGET.fullmatch(text)
    if match is None or not is_model_name(match["name"]):
        raise document.error(place, f"{text!r} is no target; {_MEANS}")
    return ModelRef.parse(match["name"], match["version"], match["label"])


def _check_labels(document: Document, by_name: Mapping[str, Route], route: Route) -> None:
    for target in route.targets():
        other = by_name.get(target.name)
        if other is None or target.label is None or target.label in (*other.labels, *_PRECISIONS):
            continue
        known = f"it has {', '.join(sorted(other.labels)) or 'none'}"
        raise document.error(
            ("routes", route.name), f"{str(target)!r}: route {other.name!r} has no label {target.label!r}; {known}"
        )


def _circle(by_name: Mapping[str, Route], way: tuple[str, ...]) -> tuple[str, ...]:
    """The way back to `way[0]`, or nothing. A route's own name inside of it is a model's."""
    for target in by_name[way[-1]].targets():
        exactly = target.version is not None or target.label is not None
        if exactly or target.name == way[-1] or target.name not in by_name:
            continue
        if target.name == way[0]:
            return (*way, target.name)
        if target.name not in way and (found := _circle(by_name, (*way, target.name))):
            return found
    return ()


def _model(by_name: Mapping[str, Route], route: Route) -> str:
    models = set()
    for target in (one.target for one in route.primaries):
        inner = None if target.name == route.name or target.version is not None else by_name.get(target.name)
        if inner is None:
            models.add(target.name)
        else:  # a label of another route may stand for any model's version
            models.add(_model(by_name, inner) if target.label is None else "")
    return models.pop() if len(models) == 1 else ""


def read_document(text: str) -> Document:
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
