"""Dashboard and rules against a real Prometheus, which scrapes services that do everything there is a panel for."""

import json
import re
import shutil
import time
from pathlib import Path

import pytest

from tools.dashboards.__main__ import panel_problems, unknown_series
from tools.dashboards.documents import DASHBOARD
from tools.dashboards.rehearsal import perform, rehearsal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus here; apt-get install it"),
]


def test_no_panel_is_empty_and_the_alerts_see_what_is_wrong(
    lenet5_repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    bogus = {"title": "Nothing", "type": "stat", "targets": [{"refId": "A", "expr": "model_server_nothing"}]}
    with rehearsal(lenet5_repository) as (prometheus, stage):
        began = time.time()
        perform(stage, 20)
        ended = time.time()
        assert list(panel_problems(prometheus, panels, began, ended)) == []
        assert list(panel_problems(prometheus, [bogus], began, ended)) == [
            "panel 'Nothing' is empty: model_server_nothing"
        ]
        assert prometheus.broken_rules() == []
        assert list(unknown_series(prometheus)) == []
        # The third version is broken, a replica was killed, a route's first target is not there.
        wanted = {"ModelServerModelFailed", "ModelServerUpstreamEjected", "ModelServerRouteFallsBack"}
        assert wanted <= prometheus.firing()
        with pytest.raises(ValueError, match="parse error"):
            prometheus.range("sum(", began, ended)
    lines = re.findall(r"^  .+ [A-C] +(\d+) series +(\d+) points$", capsys.readouterr().out, re.MULTILINE)
    assert len(lines) > len([panel for panel in panels if panel["type"] != "row"])
