"""Who may ask what, and how often."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from service.errors import Forbidden, RateLimited, Unauthenticated
from service.observability.context import RequestContext, Trace
from service.observability.metrics.registry import Metrics
from service.security import api_keys as keys
from service.security.authorizer import Gate
from service.types import NOBODY, Caller


def gate_with(*entries: str) -> Gate:
    gate = Gate(Metrics())
    gate.replace(keys.parse("".join(entries).encode()))
    return gate


def identify(gate: Gate, **headers: str) -> Caller:
    return gate.identify({name.replace("_", "-"): value for name, value in headers.items()}, "http")


def ask(gate: Gate, model: str = "m", **headers: str) -> None:
    caller = identify(gate, **headers)
    gate.authorise(caller, model)
    gate.charge(caller)


def test_without_keys_everybody_may() -> None:
    gate = Gate(Metrics())
    for _ in range(1000):
        ask(gate)
    assert gate.shows(NOBODY, "m") and not gate.needs_keys


def test_no_keys_at_all_let_nobody_in() -> None:
    with pytest.raises(Unauthenticated):
        ask(gate_with("[]"), x_api_key="")


def test_an_edge_that_forgets_to_say_who_asks_gets_nothing() -> None:
    _, entry = keys.make("a")
    gate = gate_with(entry)
    caller = RequestContext(Trace("http")).caller
    assert not gate.shows(caller, "m")
    for ask_gate in (gate.charge, gate.authorise_all, lambda caller: gate.authorise(caller, "m")):
        with pytest.raises(Unauthenticated):
            ask_gate(caller)


def test_a_key_comes_in_either_header() -> None:
    secret, entry = keys.make("a")
    gate = gate_with(entry)
    ask(gate, authorization=f"Bearer {secret}")
    ask(gate, authorization=f"bearer  {secret} ")
    ask(gate, x_api_key=secret)
    ask(gate, authorization="Basic cHJveHk6cHJveHk=", x_api_key=secret)  # a proxy's own, beside ours
    for wrong in ({}, {"authorization": secret}, {"authorization": "Bearer"}, {"x_api_key": secret + "0"}):
        with pytest.raises(Unauthenticated):
            ask(gate, **wrong)
    with pytest.raises(Unauthenticated):
        ask(gate, authorization="Bearer wrong", x_api_key=secret)  # what came first counts, or a typo goes unseen


def test_an_open_page_is_nobodys_where_no_key_comes() -> None:
    secret, entry = keys.make("a")
    gate = gate_with(entry)
    for headers in ({}, {"x-api-key": secret + "0"}):
        assert gate.identify(headers, "http", needed=False) == NOBODY
    assert gate.identify({"x-api-key": secret}, "http", needed=False) != NOBODY


def test_a_key_opens_its_models_and_shows_no_others() -> None:
    secret, entry = keys.make("cats", ["cats*"])
    gate = gate_with(entry)
    ask(gate, "cats-v2", x_api_key=secret)
    caller = identify(gate, x_api_key=secret)
    assert gate.shows(caller, "cats-v2") and not gate.shows(caller, "dogs")
    with pytest.raises(Forbidden, match="'cats' does not open model 'dogs'"):
        gate.authorise(caller, "dogs")


def test_an_expired_key_says_so() -> None:
    secret, entry = keys.make("old", expires="2020-01-01")
    gate = gate_with(entry)
    with pytest.raises(Unauthenticated, match="'old' expired at 2020-01-01"):
        ask(gate, x_api_key=secret)
    assert not gate.shows(NOBODY, "m")


def test_a_key_that_goes_ends_what_is_under_way() -> None:
    secret, entry = keys.make("a")
    gate = gate_with(entry)
    caller = identify(gate, x_api_key=secret)
    gate.replace(keys.parse(keys.make("b")[1].encode()))
    with pytest.raises(Unauthenticated):
        gate.authorise(caller, "m")


def test_the_rate_is_kept_and_the_wait_is_honest() -> None:
    secret, entry = keys.make("a", rate=20, burst=5)
    gate = gate_with(entry)
    admitted, started = 0, time.monotonic()
    while time.monotonic() - started < 1:
        try:
            ask(gate, x_api_key=secret)
            admitted += 1
        except RateLimited as limited:
            assert limited.retry_after is not None and 0 < limited.retry_after <= 1 / 20
            time.sleep(limited.retry_after)
            if time.monotonic() - started < 1:
                ask(gate, x_api_key=secret)  # nobody else has this key: the wait was enough
                admitted += 1
    elapsed = time.monotonic() - started
    assert 15 <= admitted <= 5 + 20 * elapsed + 1


def test_a_bucket_outlives_a_new_file_unless_its_rate_changes() -> None:
    secret, entry = keys.make("a", rate=0.01, burst=2)
    gate = gate_with(entry)
    ask(gate, x_api_key=secret)
    gate.replace(keys.parse((entry + keys.make("b")[1]).encode()))
    ask(gate, x_api_key=secret)
    with pytest.raises(RateLimited):
        ask(gate, x_api_key=secret)
    gate.replace(keys.parse(entry.replace("burst: 2", "burst: 3").encode()))
    ask(gate, x_api_key=secret)


def test_processes_share_a_bucket(tmp_path: Path) -> None:
    """Two of them, asking as fast as they can, get together what one would."""
    script = """if True:
        import sys, time
        from pathlib import Path
        from service.security.rate_limit import SharedBucket
        bucket, taken, end = SharedBucket(Path(sys.argv[1]), 20, 10), 0, time.monotonic() + 1.5
        while time.monotonic() < end:
            taken += bucket.take() == 0
        print(taken)
    """
    arguments = [sys.executable, "-c", script, str(tmp_path / "bucket")]
    started = time.monotonic()
    processes = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    taken = sum(int(process.communicate(timeout=60)[0]) for process in processes)
    assert 10 + 20 * 1.3 < taken <= 10 + 20 * (time.monotonic() - started) + 1


def test_keys_do_not_share_a_bucket() -> None:
    (first, one), (second, two) = keys.make("a", rate=0.01), keys.make("b", rate=0.01)
    gate = gate_with(one, two)
    for secret in (first, second):
        ask(gate, x_api_key=secret)
        with pytest.raises(RateLimited):
            ask(gate, x_api_key=secret)
