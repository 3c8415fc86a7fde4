"""Networks built here learn from random weights: some are trained here, all are held by what was recorded."""

import pytest

from benchmarks.zoo import BUILT_HERE, LEAST_ACCURACY, RECORD, read_record, train_network
from export.quiet import import_tensorflow

FAST = {"nin": 10, "resnet18": 3, "resnet34": 3}
"""Networks that take less than a minute each with so many epochs; those without batch norm need more of them."""


def test_every_recorded_network_has_learned() -> None:
    recorded = read_record(RECORD)
    assert set(FAST) <= recorded.keys() <= set(BUILT_HERE)
    assert all(each.accuracy >= LEAST_ACCURACY for each in recorded.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", FAST)
def test_it_learns_digits(name: str) -> None:
    import_tensorflow()
    assert train_network(name, ["--epochs", str(FAST[name])]).accuracy >= LEAST_ACCURACY
