"""Failures are logged, and a storm of them is counted instead."""

import logging

import pytest

from service.errors import BackendFailed, Code, InvalidInput, RateLimited
from service.observability.error_log import LEVELS, FailureLog
from service.types import ModelRef


def test_every_code_has_a_level() -> None:
    assert set(LEVELS) == set(Code)


def test_a_storm_is_counted(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("service.observability.error_log.time.monotonic", lambda: now[0])
    log = FailureLog()
    with caplog.at_level(logging.INFO, "service.observability.error_log"):
        for _ in range(50):
            log.record(ModelRef("m"), InvalidInput("bad"))
        now[0] += 1.5
        log.record(ModelRef("m"), InvalidInput("bad"))
    assert [record.getMessage() for record in caplog.records] == [
        "INVALID_INPUT 'm': bad",
        "INVALID_INPUT 'm': bad (and 49 more like it)",
    ]


def test_a_failing_model_comes_with_its_stack(caplog: pytest.LogCaptureFixture) -> None:
    error = BackendFailed("the model failed: division by zero")
    error.__cause__ = ZeroDivisionError()
    FailureLog().record(ModelRef("m"), error)
    assert "ZeroDivisionError" in caplog.text and caplog.records[0].levelno == logging.ERROR


def test_a_copy_keeps_kind_facts_and_what_the_log_is_told() -> None:
    """Errors are copied for every caller of a batch."""
    copy = RateLimited("slow down", 2.5, for_log="from 10.0.0.7").copy(row=3)
    assert isinstance(copy, RateLimited) and copy.message == str(copy) == "slow down"
    assert copy.for_log == "from 10.0.0.7" and copy.retry_after == 2.5
    assert copy.detail == {"retry_after_ms": 2500, "row": 3}
