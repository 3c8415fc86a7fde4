"""docs/reference/: pages that are written from the code."""

import asyncio
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from google.protobuf import descriptor_pool

import service.errors
from service.api.grpc import errors as grpc_errors
from service.api.grpc_app import SERVICES
from service.api.http import errors as http_errors
from service.api.http_app import HttpGuards, create_app
from service.api.oip import grpc as oip
from service.api.tfserving import grpc as tfserving
from service.api.tfserving import rest
from service.errors import Code, ServiceError
from service.observability.metrics.registry import Metrics
from service.server.app import build
from service.settings import parse
from service.sync.metrics import SyncMetrics
from tools.architecture.packages import ROOT
from tools.website.flags import escape, write_flags

FOLDER = ROOT / "docs" / "reference"
_SUFFIXES = {"counter": "_total", "info": "_info"}
_NOTE = "Written from the code by `python -m tools.website`; do not edit."


def write_errors() -> str:
    """From the tables of the edges, and the docstring of service/errors.py."""
    causes = read_causes(service.errors.__doc__ or "")
    rows = [
        f"| `{code}` | {_statuses(code)} | {grpc_errors.STATUS[code].name} | {escape(causes[code])} |" for code in Code
    ]
    return "\n".join(
        [
            'An error over HTTP is `{"error": {"code", "message", "request_id", "detail"}}`; below `/v1` and `/v2` it '
            "has the form of their protocols. Its code is a label of `model_server_requests_total`.",
            "",
            "| code | HTTP | gRPC | when |",
            "| :--- | :--- | :--- | :--- |",
            *rows,
        ]
    )


def _statuses(code: Code) -> str:
    ours, theirs = http_errors.STATUS[code], rest.STATUS[code]
    return str(ours) if ours == theirs else f"{ours}; {theirs} below `/v1`"


def read_causes(docstring: str) -> dict[Code, str]:
    """Code -> when it comes, from the tree of classes in the docstring."""
    lines = dict(re.findall(r"[├└]── (\w+) +(\S.*)$", docstring, re.MULTILINE))
    found: dict[Code, str] = {}
    for each in _find_subclasses(ServiceError):
        found.setdefault(each.code, lines.get(each.__name__, ""))
    return found


def _find_subclasses(parent: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for each in parent.__subclasses__():
        yield each
        yield from _find_subclasses(each)


def write_metrics() -> str:
    page, sync = Metrics(), SyncMetrics("")
    return "\n\n".join(
        [
            "`GET /metrics` has these series, and `python -m service sync` those of the last table at its own port. "
            "[Alerts](../alerts.md) says which ones to act on. A histogram `x` is `x_bucket`, `x_sum` and `x_count`.",
            _write_series("The service", page._page, page._registry),
            _write_series("The copy of models", sync._registry),
        ]
    )


def _write_series(heading: str, *registries: Any) -> str:
    """prometheus_client tells the labels of a series that nothing was counted of to its own attributes only."""
    labels = {
        collector._name: collector._labelnames
        for registry in registries
        for collector in registry._collector_to_names
        if hasattr(collector, "_labelnames")
    }
    families = {family.name: family for registry in registries for family in registry.collect()}
    rows = [
        f"| `{name}{_SUFFIXES.get(family.type, '')}` | {family.type} | "
        f"{', '.join(f'`{label}`' for label in labels.get(name, ()))} | {escape(family.documentation)} |"
        for name, family in sorted(families.items())
    ]
    return "\n".join(
        [f"## {heading}", "", "| series | type | labels | meaning |", "| :--- | :--- | :--- | :--- |", *rows]
    )


def write_apis() -> str:
    described = asyncio.run(_describe_http())
    by_topic: dict[str, list[str]] = {}
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            meaning = " ".join(operation.get("description", "").split("\n\n")[0].split())
            by_topic.setdefault(operation["tags"][0], []).append(f"| `{method.upper()} {path}` | {escape(meaning)} |")
    parts = [
        "A running service has the whole description, with bodies and answers, at `/docs` and `/openapi.json`. "
        "[Asking the service](../clients.md) has examples. HEAD works wherever GET does."
    ]
    for topic, rows in by_topic.items():
        heading = topic[:1].upper() + topic[1:]
        parts.append("\n".join([f"## HTTP: {heading}", "", "| path | meaning |", "| :--- | :--- |", *rows]))
    servicers = (tfserving.PredictionService, tfserving.ModelService, oip.InferenceService)
    rows = [
        f"| `{name}` | {', '.join(f'`{method}`' for method in _list_methods(name, servicer))} |"
        for name, servicer in zip(SERVICES, servicers, strict=True)
    ]
    tail = "`grpc.health.v1` and reflection are on the same port. Methods that are not listed answer UNIMPLEMENTED."
    parts.append("\n".join(["## gRPC", "", "| service | methods |", "| :--- | :--- |", *rows, "", tail]))
    return "\n\n".join(parts)


def _list_methods(name: str, servicer: type) -> list[str]:
    """Those of the service's description that the class answers: its base refuses the others, or a function of ours."""
    methods = descriptor_pool.Default().FindServiceByName(name).methods
    return [method.name for method in methods if _answers(vars(servicer).get(method.name), method.name)]


def _answers(function: Any, name: str) -> bool:
    """One that refuses is shared under another name, or does nothing but raise Unsupported."""
    return getattr(function, "__name__", "") == name and function.__code__.co_names != ("Unsupported",)


async def _describe_http() -> dict[str, Any]:
    """/openapi.json of a service that runs no model."""
    with tempfile.TemporaryDirectory() as folder:
        settings = parse(["--backend", "fake", "--repository", folder])
        core = build(settings)
        guards = HttpGuards(settings.max_body_bytes, settings.body_timeout_seconds)
        return create_app(core.predictor, core.metrics, core.access, core.gate, guards).openapi()


PAGES: Mapping[str, tuple[str, Callable[[], str]]] = {
    "flags.md": ("Flags", write_flags),
    "apis.md": ("APIs", write_apis),
    "errors.md": ("Errors", write_errors),
    "metrics.md": ("Metrics", write_metrics),
}
"""File in docs/reference/ -> its title, and what writes its text."""


def write_page(name: str) -> str:
    title, write = PAGES[name]
    return f"# {title}\n\n{_NOTE}\n\n{write()}\n"
