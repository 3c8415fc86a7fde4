"""API keys that change under traffic, and the rates that they are held to."""

import threading
import time
from pathlib import Path

import grpc
import httpx
import pytest

from service.security import api_keys as keys
from tests.support.api_key_service import Guarded
from tests.support.service_process import running


def test_a_rate_is_kept_and_says_when_to_ask_again(guarded: Guarded) -> None:
    """3 at once, then one in two seconds, whatever the protocol."""
    first = [guarded.ask_http(guarded.slow).status_code, guarded.ask_grpc(guarded.slow)[0].name]
    assert first == [200, "OK"]
    assert guarded.ask_http(guarded.slow).status_code == 200
    reply = guarded.ask_http(guarded.slow)
    assert reply.status_code == 429 and reply.json()["error"]["code"] == "RATE_LIMITED"
    assert reply.headers["retry-after"] in ("1", "2")
    code, failure = guarded.ask_grpc(guarded.slow)
    trailers = dict(failure.trailing_metadata())
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED and trailers["retry-after"] in ("1", "2")
    pushback = int(trailers["grpc-retry-pushback-ms"])
    assert 0 < pushback <= 2000
    time.sleep(pushback / 1000)
    assert guarded.ask_http(guarded.slow).status_code == 200, "the wait was honest"
    assert guarded.service.metric('model_server_key_predictions_total{key="slow",outcome="rate_limited"}') >= 2
    assert guarded.outcomes(guarded.all_models) == {grpc.StatusCode.OK}, "others are not slowed"


def test_keys_are_rotated_under_traffic_without_losing_a_request(guarded: Guarded) -> None:
    before = guarded.file.read_text()
    secret, entry = keys.make("next")
    stop, lost = threading.Event(), list[str]()

    def traffic() -> None:
        while not stop.is_set():
            if (outcomes := guarded.outcomes(guarded.all_models)) != {grpc.StatusCode.OK}:
                lost.append(str(outcomes))

    thread = threading.Thread(target=traffic)
    thread.start()
    try:
        assert guarded.ask_http(secret).status_code == 401
        guarded.file.write_text(before + entry)
        guarded.service.wait_until(lambda: guarded.ask_http(secret).status_code == 200, 10)
        assert guarded.ask_grpc(secret)[0] is grpc.StatusCode.OK
        guarded.file.write_text(before)
        removed = time.monotonic()
        guarded.service.wait_until(lambda: guarded.ask_http(secret).status_code == 401, 10)
        assert time.monotonic() - removed < 3, "two looks half a second apart, and a busy machine"
        assert guarded.ask_grpc(secret)[0] is grpc.StatusCode.UNAUTHENTICATED
    finally:
        stop.set()
        thread.join()
    assert not lost


@pytest.mark.parametrize(
    "broken", ["- [", *(pytest.param(bad, marks=pytest.mark.slow) for bad in ("", "- {name: a}", None))]
)
def test_a_bad_new_file_changes_nothing_and_is_told(guarded: Guarded, broken: str | None) -> None:
    before = guarded.file.read_text()
    refused = 'model_server_files_refused{what="API keys"}'
    said = guarded.service.log().count("the earlier API keys stay in force")
    assert guarded.service.metric(refused) == 0
    try:
        if broken is None:
            guarded.file.unlink()
        else:
            guarded.file.write_text(broken)
        guarded.service.wait_until(lambda: guarded.service.metric(refused) == 1, 10)
        assert guarded.outcomes(guarded.all_models) == {grpc.StatusCode.OK}
        assert guarded.outcomes(None) == {grpc.StatusCode.UNAUTHENTICATED}
        time.sleep(1.2)  # several looks
        assert guarded.service.log().count("the earlier API keys stay in force") == said + 1, "once, not at every look"
    finally:
        guarded.file.write_text(before)
    guarded.service.wait_until(lambda: guarded.service.metric(refused) == 0, 10)
    assert guarded.outcomes(guarded.all_models) == {grpc.StatusCode.OK}


def test_a_rate_is_one_rate_however_many_workers_answer(lenet5_repository: Path, tmp_path: Path) -> None:
    """Each request over a connection of its own, so that both workers get some."""
    secret, entry = keys.make("a", rate=1, burst=10)
    (tmp_path / "keys.yaml").write_text(entry)
    digit = (lenet5_repository / "lenet5" / "1" / "assets.extra" / "samples" / "7-0.png").read_bytes()
    arguments = ("--repository", lenet5_repository, "--api-keys", tmp_path / "keys.yaml", "--workers", 2)
    with running(*arguments) as service:
        service.wait_ready()
        started = time.monotonic()
        ask = {"url": f"{service.url}/predict/lenet5", "headers": {"x-api-key": secret}, "timeout": 30}
        codes = [httpx.post(content=digit, **ask).status_code for _ in range(40)]  # type: ignore[arg-type]  # a mapping
        most = 10 + (time.monotonic() - started) + 1
        assert set(codes) == {200, 429} and 10 <= codes.count(200) <= most
        assert service.stop() == 0
