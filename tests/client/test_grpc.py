"""The same questions over gRPC: answers and errors are those of HTTP."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from image_model_client import (
    Client,
    DeadlineExceeded,
    GrpcClient,
    InvalidRequest,
    Label,
    NotFound,
    Unreachable,
    UnreadableImage,
)
from image_model_client.grpc import parse_label
from tests.support.client_command import ENVIRONMENT
from tests.support.service_process import Service


@pytest.fixture(scope="module")
def twin(service: Service) -> Iterator[GrpcClient]:
    with GrpcClient(f"127.0.0.1:{service.grpc_port}") as client:
        yield client


def test_answers_are_those_of_http(client: Client, twin: GrpcClient, digits: list[Path]) -> None:
    for image in digits:
        ours, theirs = twin.predict("lenet5", image), client.predict("lenet5", image)
        assert (ours.model, ours.version, ours.label) == (theirs.model, theirs.version, theirs.label)
        assert [each.label for each in ours.top_k] == [each.label for each in theirs.top_k]
        expected = [each.probability for each in theirs.top_k]
        assert [each.probability for each in ours.top_k] == pytest.approx(expected, abs=1e-6)
        assert len(ours.request_id) == 32
    assert twin.models() == client.models()


def test_all_labels_of_a_network_are_whole(client: Client, twin: GrpcClient, coffee: bytes) -> None:
    ours, theirs = (each.predict("efficientnet_lite0", coffee, top_k=1000) for each in (twin, client))
    assert {each.label for each in ours.top_k} == {each.label for each in theirs.top_k}
    assert len(ours.top_k) == 1000 and any("," in each.label for each in ours.top_k)


def test_a_label_may_have_colons() -> None:
    assert parse_label("0.750000:12:a: b") == Label("a: b", 0.75)


def test_many_are_in_order(twin: GrpcClient, digits: list[Path]) -> None:
    outcomes = list(twin.predict_many("lenet5", [*digits, "no/such.jpg", *digits], top_k=1))
    assert isinstance(outcomes.pop(len(digits)).error, UnreadableImage)
    assert [outcome.prediction and outcome.prediction.label for outcome in outcomes] == [
        path.name[0] for path in [*digits, *digits]
    ]


def test_errors_are_those_of_http(twin: GrpcClient, seven: Path) -> None:
    with pytest.raises(NotFound, match="no_model"):
        twin.predict("no_model", seven)
    with pytest.raises(NotFound):
        twin.predict("lenet5", seven, version=9)
    with pytest.raises(InvalidRequest, match="no JPEG, PNG") as text:
        twin.predict("lenet5", b"text")
    assert (text.value.status, text.value.code, len(text.value.request_id)) == (400, "INVALID_ARGUMENT", 32)
    with pytest.raises(InvalidRequest) as large:
        twin.predict("lenet5", b"\x89PNG\r\n\x1a\n" + bytes(5 << 20))
    assert large.value.status == 413
    with pytest.raises(DeadlineExceeded):
        twin.predict("efficientnet_lite0", seven, deadline=0.002)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match="is it running, and is the address right"):
        GrpcClient(f"127.0.0.1:{port}", retries=1).predict("lenet5", b"x")


@pytest.mark.parametrize("address", ["http://localhost:8500", "localhost"])
def test_what_is_no_address_is_refused_at_once(address: str) -> None:
    with pytest.raises(ValueError, match=r"^Invalid address"):
        GrpcClient(address)


def test_what_is_an_extra_is_not_imported_and_its_lack_says_what_to_install() -> None:
    code = """
import sys
import image_model_client
assert not {"numpy", "PIL", "grpc", "tritonclient"} & sys.modules.keys()
sys.modules["grpc"] = sys.modules["PIL"] = None
try:
    image_model_client.GrpcClient
except ImportError as error:
    print(error)
try:
    image_model_client.Client().predict("m", object())
except image_model_client.UnreadableImage as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    grpc, images = done.stdout.splitlines()
    assert grpc == "GrpcClient needs grpc: pip install 'image-model-client[grpc]'"
    assert images == "a object is sent with Pillow: pip install 'image-model-client[images]'"
