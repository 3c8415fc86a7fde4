"""Names that must not be told are told by nobody, whatever sentence or path they stand in."""

import pytest

from service.errors import BackendFailed, NotFound, RateLimited
from service.models.version import State, Status
from service.routing.discretion import Discretion
from service.routing.plan import Routes
from service.routing.schema import parse
from service.types import ModelRef, PredictResult


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Servable not found for request: Specific(net, 9)", "Servable not found for request: Specific(cats, 9)"),
        ("model 'net/2' is still loading", "model 'cats/2' is still loading"),
        ("/models/net/3/model.tflite is broken", "/models/cats/3/model.tflite is broken"),
        ("ask for net-v2 or net.", "ask for cats or cats."),
        ("the network has no net-v3, net.v4 or subnet", "the network has no net-v3, net.v4 or subnet"),
    ],
)
def test_a_secret_name_reads_as_the_one_asked_for(said: str, told: str) -> None:
    discretion = Discretion("cats", {"net", "net-v2"})
    assert discretion.error(NotFound(said)).message == told
    assert discretion.status(Status(1, State.END, said)).error == told


def test_what_programs_read_is_discreet_too_and_the_log_is_not() -> None:
    error = BackendFailed("net failed", for_log="net failed at 10.0.0.7", names=["net", {"model": "net"}], row=3)
    told = Discretion("cats", {"net"}).error(error)
    assert isinstance(told, BackendFailed) and told.message == str(told) == "cats failed"
    assert told.detail == {"names": ["cats", {"model": "cats"}], "row": 3} and told.for_log == "net failed at 10.0.0.7"


def test_an_error_keeps_its_kind_and_its_facts() -> None:
    told = Discretion("cats", {"net"}).error(RateLimited("net is busy", 2.5))
    assert isinstance(told, RateLimited) and told.retry_after == 2.5 and told.detail["retry_after_ms"] == 2500


def test_nothing_changes_where_nothing_is_secret() -> None:
    error, result = (
        NotFound("net is not here"),
        PredictResult(ModelRef("cats", 1), "", {}, served_by=(ModelRef("net"),)),
    )
    assert Discretion("cats", set()).error(error) is error and Discretion("cats", set()).result(result) is result
    assert Discretion("cats", {"dogs"}).error(error) is error


def test_a_name_leads_to_all_that_may_answer_for_it() -> None:
    routes: Routes = parse(
        "routes:\n  a: b\n  b: {target: m/2, fallback: [n], labels: {old: k/1}, shadow: {target: s}}\n"
        "  both: {ensemble: {members: [b, x]}}\n  m: {split: [{target: m/1}, {target: y}]}\n"
    )
    assert routes.leads_to("a") == {"a", "b", "m", "n", "k", "s", "y"}
    assert routes.leads_to("both") == {"both", "b", "m", "n", "k", "s", "x", "y"}
    assert routes.leads_to("m") == {"m", "y"} and routes.leads_to("x") == set()
