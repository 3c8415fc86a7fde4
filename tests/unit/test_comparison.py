"""docs/comparison.md is what its script writes, each claim of ours has a test, and each server its sources."""

import re

import pytest

from benchmarks.comparison import FEATURES, NO, PAGE, SERVERS, Feature, Server, render
from benchmarks.rivals.speeds import RESULTS, Speeds
from tests.support.exporter import ROOT


def test_the_page_is_what_the_script_writes() -> None:
    written = render(Speeds.read(ROOT / RESULTS))
    assert (ROOT / PAGE).read_text() == written, "run python -m benchmarks.comparison"


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_a_claim_of_ours_has_a_test(feature: Feature) -> None:
    assert bool(feature.evidence) == (feature.ours != NO)
    if feature.evidence:
        assert re.search(r"^(async )?def test_", (ROOT / feature.evidence).read_text(), re.MULTILINE)
    assert set(feature.others) <= set(SERVERS)


@pytest.mark.parametrize("server", SERVERS.values(), ids=lambda server: server.name)
def test_each_server_has_sources_and_something_that_it_does_better(server: Server) -> None:
    assert server.sources and all(source.startswith("https://") for source in server.sources)
    assert server.better
    key = next(key for key, value in SERVERS.items() if value is server)
    assert any(feature.others.get(key, NO) != NO for feature in FEATURES)


def test_the_table_says_where_others_are_ahead() -> None:
    behind = [feature for feature in FEATURES if feature.ours == NO and feature.others]
    assert len(behind) >= 3
