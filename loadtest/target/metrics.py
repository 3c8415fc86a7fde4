"""What the service's /metrics says of one version, before and after a load."""

import re
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

_LINE = re.compile(r"^(\w+)\{([^}]*)\} ([0-9.e+-]+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_TOTAL = "total"


@dataclass(frozen=True)
class Scrape:
    """Counters since the service's start: `rows` are batches of at most so many rows, cumulative as on the page;
    `stages` are seconds and answers.
    """

    rows: Mapping[int, int]
    stages: Mapping[str, tuple[float, int]]

    def batches_since(self, before: "Scrape") -> dict[int, int]:
        """Batch size -> batches run since. Sizes are upper bounds: the page has 1, 2, 4, 8, ..."""
        found, below = {}, 0
        for size in sorted(self.rows):
            within = self.rows[size] - before.rows.get(size, 0)
            if within > below:
                found[size] = within - below
            below = max(below, within)
        return found

    def stages_since(self, before: "Scrape") -> dict[str, float]:
        """Stage -> mean milliseconds an answer since, `total` among them."""
        found = {}
        for stage, (seconds, count) in self.stages.items():
            had_seconds, had = before.stages.get(stage, (0.0, 0))
            if count > had:
                found[stage] = 1000 * (seconds - had_seconds) / (count - had)
        return found


def scrape(url: str, model: str, version: int) -> Scrape:
    """Nothing but zeros where the page is not to be had: a service of somebody else's may have none."""
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=5) as reply:
            return parse(reply.read().decode(), model, version)
    except (OSError, ValueError):
        return Scrape({}, {})


def parse(page: str, model: str, version: int) -> Scrape:
    rows: Counter[int] = Counter()
    seconds: defaultdict[str, float] = defaultdict(float)
    answers: Counter[str] = Counter()
    for name, labelled, value in _LINE.findall(page):
        labels = dict(_LABEL.findall(labelled))
        if (labels.get("model"), labels.get("version")) != (model, str(version)):
            continue
        if name == "model_server_batch_rows_bucket" and labels["le"] != "+Inf":
            rows[int(float(labels["le"]))] += int(float(value))
        elif name == "model_server_stage_seconds_sum":
            seconds[labels["stage"]] += float(value)
        elif name == "model_server_stage_seconds_count":
            answers[labels["stage"]] += int(float(value))
    return Scrape(rows, {stage: (seconds[stage], answers[stage]) for stage in seconds})
