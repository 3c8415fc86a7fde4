"""`python -m tools.dashboards`: promtool's unit tests, then every query of the dashboard against a live Prometheus.

Services are started here, made to do everything that there is a panel for, and scraped by a real Prometheus. A panel
that stays empty fails the check, like a rule that cannot be evaluated or a series that nobody exports.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tools.dashboards.prometheus import Prometheus

_REPOSITORY = Path("model_repository")
_SECONDS = 20.0
_NAMES = re.compile(r"\b(?:model_server[_:]|process_)[a-z0-9_:]+")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.dashboards", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--repository", type=Path, default=_REPOSITORY, help="a folder with lenet5/1 (model_repository)")
    add("--seconds", type=float, default=_SECONDS, help=f"of load ({_SECONDS:g})")
    given = parser.parse_args()
    from tools.dashboards.prometheus import PrometheusMissing
    from tools.dashboards.rehearsal import MODEL

    if not (given.repository / MODEL / "1").is_dir():
        parser.error(f"{given.repository} has no {MODEL}/1; `python -m export --model {MODEL}` makes one")
    try:
        wrong = [*_stale(), *_unit_tests(), *_live(given.repository, given.seconds)]
    except PrometheusMissing as error:
        parser.exit(2, f"python -m tools.dashboards: {error}\n")
    for problem in wrong:
        print(f"  {problem}")
    print("everything is there" if not wrong else f"{len(wrong)} problems")
    return 1 if wrong else 0


def _stale() -> Iterator[str]:
    from tools.dashboards.documents import documents

    for path, text in documents().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            yield f"{path.name} is not up to date: python -m tools.dashboards.documents"


def _unit_tests() -> Iterator[str]:
    from tools.dashboards.documents import FOLDER
    from tools.dashboards.prometheus import program

    for command in (["check", "rules", "rules.yaml"], ["test", "rules", "rules.test.yaml"]):
        done = subprocess.run([program("promtool"), *command], cwd=FOLDER, capture_output=True, text=True, timeout=120)
        print(f"promtool {' '.join(command)}: {'ok' if done.returncode == 0 else 'failed'}", flush=True)
        if done.returncode != 0:
            yield (done.stdout + done.stderr).strip()


def _live(repository: Path, seconds: float) -> Iterator[str]:
    from tools.dashboards.documents import DASHBOARD
    from tools.dashboards.rehearsal import perform, rehearsal

    print(f"starting services and Prometheus, then {seconds:g} s of load ...", flush=True)
    with rehearsal(repository) as (prometheus, stage):
        began = time.time()
        perform(stage, seconds)
        panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
        yield from panel_problems(prometheus, panels, began, time.time())
        yield from (f"a rule cannot be evaluated: {problem}" for problem in prometheus.broken_rules())
        yield from unknown_series(prometheus)


def panel_problems(prometheus: "Prometheus", panels: list[dict[str, Any]], began: float, ended: float) -> Iterator[str]:
    """A line each, and what is empty."""
    for panel in panels:
        if panel["type"] == "row":
            print(f"\n{panel['title']}")
        for target in panel.get("targets", []):
            series = prometheus.range(concrete(target["expr"]), began, ended)
            points = sum(len(one.points) for one in series)
            print(f"  {panel['title']:<34} {target['refId']}  {len(series):>3} series {points:>6} points", flush=True)
            if not points:
                yield f"panel {panel['title']!r} is empty: {target['expr']}"
    print()


def unknown_series(prometheus: "Prometheus") -> Iterator[str]:
    """What rules and dashboard ask for, and nobody has."""
    from tools.dashboards.documents import DASHBOARD, RULES

    used = set(_NAMES.findall(RULES.read_text(encoding="utf-8") + DASHBOARD.read_text(encoding="utf-8")))
    yield from (f"nobody exports {name}" for name in sorted(used - prometheus.names()))


def concrete(expression: str, window: str = "10s") -> str:
    """A query with what Grafana would put in its variables' places."""
    return re.sub(r"\$(namespace|model)\b", ".*", expression.replace("$__rate_interval", window))


if __name__ == "__main__":
    sys.exit(main())
