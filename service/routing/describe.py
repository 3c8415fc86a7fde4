"""The routes in force as JSON: what the file says, with every default filled in."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from service.errors import ServiceError
from service.routing.plan import Route, Routes, Weighted
from service.routing.routes_file import RoutesFile
from service.types import ModelRef

Look = Callable[[ModelRef], Awaitable[object]]
"""Finds the version that a reference means, or raises ServiceError."""


async def report(file: RoutesFile, look: Look) -> dict[str, Any]:
    """`targets` says of each version that a route leads to whether it is available; a missing one is no error."""
    routes = file.routes
    targets = {str(ref): await _state(look, ref) for ref in sorted(_leaves(routes), key=str)}
    return {
        "file": None if file.path is None else str(file.path),
        "error": file.error or None,
        "only_routes": routes.only_routes,
        "routes": {name: _written(route) for name, route in sorted(routes.by_name.items())},
        "targets": targets,
    }


async def _state(look: Look, ref: ModelRef) -> str:
    try:
        await look(ref)
    except ServiceError as error:
        return f"{error.code}: {error.message}"
    return "available"


def _leaves(routes: Routes) -> Iterator[ModelRef]:
    for route in routes.by_name.values():
        for target in route.targets():
            other = routes.by_name.get(target.name)
            if other is not None and target.label is not None:
                yield other.labels.get(target.label, target)
            elif other is None or target.version is not None or other is route:
                yield target


def _written(route: Route) -> dict[str, Any]:
    written: dict[str, Any] = {}
    if route.ensemble is not None:
        written["ensemble"] = {"members": _shares(route.ensemble.members), "quorum": route.ensemble.quorum}
    elif len(route.split) == 1:
        written["target"] = str(route.split[0].target)
    else:
        written["split"] = _shares(route.split)
    written["labels"] = {label: str(ref) for label, ref in route.labels.items()}
    written["fallback"] = [str(ref) for ref in route.fallback]
    if (shadow := route.shadow) is not None:
        written["shadow"] = {
            "target": str(shadow.target),
            "share": shadow.share,
            "deadline_ms": shadow.deadline * 1000,
            "max_in_flight": shadow.max_in_flight,
        }
    limits = {
        "max_in_flight": route.max_in_flight,
        "max_rows": route.max_rows,
        "latency_slo_ms": None if route.latency_slo is None else route.latency_slo * 1000,
    }
    if not route.batching:
        written["batching"] = False
    return written | {key: value for key, value in limits.items() if value is not None}


def _shares(weighted: tuple[Weighted, ...]) -> list[dict[str, Any]]:
    return [{"target": str(one.target), "weight": one.weight} for one in weighted]
