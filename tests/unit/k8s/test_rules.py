"""Alerts and recording rules by the real promtool; what names them elsewhere names what is there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.dashboards.documents import DASHBOARD, FOLDER, RULES, documents
from tools.k8s_check.rendering import ROOT, render

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool; it comes with prometheus")


def _rules(kind: str) -> dict[str, Any]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule[kind]: rule for group in groups for rule in group["rules"] if kind in rule}


@needs_promtool
@pytest.mark.parametrize("command", [["check", "rules", "rules.yaml"], ["test", "rules", "rules.test.yaml"]])
def test_promtool_is_content(command: list[str]) -> None:
    done = subprocess.run(["promtool", *command], cwd=FOLDER, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_is_not_content_with_a_higher_threshold(tmp_path: Path) -> None:
    """The unit tests see the rules: what they expect does not fire for rules that are others."""
    (tmp_path / "rules.yaml").write_text(RULES.read_text().replace("ratio_rate5m > 0.05", "ratio_rate5m > 0.5"))
    tests = yaml.safe_load((FOLDER / "rules.test.yaml").read_text())
    tests["tests"] = [test for test in tests["tests"] if "refused" in test["name"]]
    (tmp_path / "rules.test.yaml").write_text(yaml.safe_dump(tests))
    done = subprocess.run(
        ["promtool", "test", "rules", "rules.test.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode != 0 and "ModelServerRefuses" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "path", "said"),
    [
        (["--repository", "nowhere"], os.environ["PATH"], "nowhere has no lenet5/1; `python -m export"),
        (["--repository", "{here}"], "", "there is no promtool here: apt-get install prometheus"),
    ],
)
def test_what_the_check_wants_is_said_in_a_line(arguments: list[str], path: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "lenet5" / "1").mkdir(parents=True)
    command = [sys.executable, "-m", "tools.dashboards", *(one.format(here=tmp_path) for one in arguments)]
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(command, cwd=ROOT.parent, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_every_alert_is_seen_to_fire_and_to_be_silent() -> None:
    fires: set[str] = set()
    silent: set[str] = set()
    for test in yaml.safe_load((FOLDER / "rules.test.yaml").read_text())["tests"]:
        for expected in test["alert_rule_test"]:
            (fires if expected["exp_alerts"] else silent).add(expected["alertname"])
    assert fires == silent == _rules("alert").keys()


def test_every_alert_says_what_to_do() -> None:
    text = (ROOT.parent / "docs" / "alerts.md").read_text()
    assert set(re.findall(r"^### (\w+)$", text, re.MULTILINE)) == _rules("alert").keys()
    for name, rule in _rules("alert").items():
        assert rule["annotations"]["runbook"] == f"docs/alerts.md#{name.lower()}"
        said = text.partition(f"### {name}\n")[2].partition("\n### ")[0]
        assert said.lower().startswith(rule["labels"]["severity"])
        assert ("*" in said.partition("\n")[0]) == ("kube_" in rule["expr"]), f"{name} needs kube-state-metrics, or not"
    anchors = {heading.lower() for heading in re.findall(r"^#+ (\w+)$", text, re.MULTILINE)}
    assert set(re.findall(r"\(#(\w+)\)", text)) <= anchors


def test_what_is_made_from_others_is_up_to_date() -> None:
    for path, text in documents().items():
        assert path.read_text() == text, f"{path.name}: python -m tools.dashboards.documents"


def test_autoscalers_ask_for_what_is_recorded() -> None:
    recorded = _rules("record").keys()
    adapter = yaml.safe_load((FOLDER / "adapter.yaml").read_text())["rules"]
    named = {kind: {rule["name"]["as"] for rule in adapter[kind]} for kind in ("custom", "external")}
    for rule in [*adapter["custom"], *adapter["external"]]:
        assert rule["seriesQuery"].partition("{")[0] in recorded
    asked = []
    for folder in ("overlays/embedded", "overlays/cpu", "overlays/gpu", "variants/embedded-keda"):
        for manifest in render(ROOT / folder):
            if manifest["kind"] == "HorizontalPodAutoscaler":
                for metric in manifest["spec"]["metrics"]:
                    kind = {"Pods": "pods", "External": "external"}.get(metric["type"])
                    if kind is not None:
                        asked.append(metric["type"])
                        place = "custom" if kind == "pods" else "external"
                        assert metric[kind]["metric"]["name"] in named[place]
            elif manifest["kind"] == "ScaledObject":
                for trigger in manifest["spec"]["triggers"]:
                    asked.append("KEDA")
                    series = set(re.findall(r"model_server:[\w:]+", trigger["metadata"]["query"]))
                    assert series and series <= recorded
    assert {"Pods", "External", "KEDA"} <= set(asked)


def test_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
