"""Tests that build networks by the dozen in one process."""

import gc
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def release_networks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Gives back what a large network took: together they would take more memory than a machine has."""
    yield
    if request.node.get_closest_marker("slow") and "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session()
        gc.collect()
