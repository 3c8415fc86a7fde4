"""`python -m tools.dashboards.documents`: the files that are made from others, written anew.

panels.py  ─> dashboard.json         what Grafana imports
rules.yaml ─> prometheus-rule.yaml   what the Prometheus operator takes
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from tools.dashboards.panels import Panel, Row
from tools.dashboards.request_panels import REQUESTS
from tools.dashboards.system_panels import BEHIND

FOLDER = Path(__file__).parents[2] / "k8s" / "observability"
DASHBOARD, RULES, OPERATORS = FOLDER / "dashboard.json", FOLDER / "rules.yaml", FOLDER / "prometheus-rule.yaml"

ROWS = (*REQUESTS, *BEHIND)

_WIDTH = 24  # columns of Grafana's grid
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def main() -> None:
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(FOLDER.parents[1])}: {len(text.splitlines())} lines")


def documents() -> dict[Path, str]:
    """What the files have to hold."""
    return {DASHBOARD: json.dumps(dashboard(ROWS), indent=1) + "\n", OPERATORS: operators_rule()}


def operators_rule() -> str:
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "model-server"},
        "spec": yaml.safe_load(RULES.read_text(encoding="utf-8")),
    }
    head = "# Written by `python -m tools.dashboards.documents` from rules.yaml; do not edit.\n"
    return head + yaml.safe_dump(document, sort_keys=False, width=118)


def dashboard(rows: Sequence[Row]) -> dict[str, Any]:
    panels = list(_placed(rows))
    for number, panel in enumerate(panels, 1):
        panel["id"] = number
    return {
        "uid": "image-model-server",
        "title": "Image models",
        "tags": ["image-model-server"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
                _variable("namespace", "label_values(model_server_ready, namespace)"),
                _variable("model", "label_values(model_server_version_state, model)"),
            ]
        },
        "panels": panels,
    }


def _variable(name: str, query: str) -> dict[str, Any]:
    """All of them at first. `.*` and not a list: series outside a cluster have no namespace."""
    return {
        "name": name,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _placed(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    top = 0
    for row in rows:
        yield {
            "type": "row",
            "title": row.title,
            "gridPos": _place(0, top, _WIDTH, 1),
            "panels": [],
            "collapsed": False,
        }
        top += 1
        across = 6 if all(panel.kind == "stat" for panel in row.panels) else 3
        height = 4 if across == 6 else 8
        for number, panel in enumerate(row.panels):
            left = number % across * (_WIDTH // across)
            yield {**_panel(panel), "gridPos": _place(left, top + number // across * height, _WIDTH // across, height)}
        top += -(-len(row.panels) // across) * height


def _place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": None if panel.title == "Budget left" else 0}
    if panel.most is not None:
        defaults["max"] = panel.most
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "fillOpacity": 25 if panel.stack else 5,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stack else "none"},
        }
        options: dict[str, Any] = {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    else:
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area", "colorMode": "value"}
    targets = [
        {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": query.expression, "legendFormat": query.legend}
        for number, query in enumerate(panel.queries)
    ]
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": targets,
    }


if __name__ == "__main__":
    main()
