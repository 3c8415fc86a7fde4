"""Where calls go, asked of the routes alone."""

import math
import random
import subprocess
import sys
from collections import Counter

import pytest

from service.errors import InvalidInput, NotFound
from service.routing.plan import Average, Plan, Routes, choose
from service.routing.schema import parse
from service.types import ModelRef

CHANCE = random.Random(7)


def plan(text: str, ref: ModelRef | str, key: str = "") -> Plan | ModelRef:
    return parse(text).plan(ModelRef(ref) if isinstance(ref, str) else ref, key, random.Random(7))


def steps(text: str, ref: ModelRef | str, key: str = "") -> list[str]:
    found = plan(text, ref, key)
    assert isinstance(found, Plan)
    return [str(step) if isinstance(step, ModelRef) else type(step).__name__ for step in found.steps]


def test_a_name_without_a_route_is_a_model_unless_only_routes_count() -> None:
    assert plan("routes: {}", ModelRef("lenet5", 3)) == ModelRef("lenet5", 3)
    assert Routes().plan(ModelRef("lenet5"), "", CHANCE) == ModelRef("lenet5")
    with pytest.raises(NotFound, match=r"Servable.*Latest\(lenet5\); only routes"):
        plan("{only_routes: true, routes: {digits: lenet5}}", "lenet5")


def test_an_alias_leads_to_its_target_also_through_another() -> None:
    assert steps("routes: {digits: lenet5/2}", "digits") == ["lenet5/2"]
    outer = plan("routes: {a: b, b: lenet5@int8}", "a")
    assert isinstance(outer, Plan)
    (inner,) = outer.steps
    assert isinstance(inner, Plan)
    assert inner.route.name == "b" and inner.steps == (ModelRef("lenet5", label="int8"),)


def test_a_route_with_its_models_name_leads_to_the_model() -> None:
    assert steps("routes: {lenet5: {max_in_flight: 3}}", "lenet5") == ["lenet5"]
    assert steps("routes: {lenet5: {target: lenet5@stable, labels: {stable: 4}}}", "lenet5") == ["lenet5/4"]
    assert steps("routes: {digits: lenet5/1, lenet5: mobilenet}", "digits") == ["lenet5/1"], "a version is a model's"


SPLIT = """routes: {m: {split: [
    {target: m/1, weight: 70}, {target: m/2, weight: 25}, {target: x, weight: 5}, {target: y, weight: 0}]}}"""


@pytest.mark.parametrize("keyed", [True, False])
def test_a_split_keeps_to_its_weights(keyed: bool) -> None:
    """Pearson's statistic of 20 000 calls: past 13.8 once in a thousand for two degrees of freedom; all is seeded."""
    routes, chance, calls = parse(SPLIT), random.Random(11), 20_000
    split = routes.by_name["m"].split
    found = Counter(str(choose("m", split, f"user-{n}" if keyed else "", chance)) for n in range(calls))
    expected = {"m/1": 0.70 * calls, "m/2": 0.25 * calls, "x": 0.05 * calls}
    assert set(found) == set(expected)
    assert sum((found[target] - want) ** 2 / want for target, want in expected.items()) < 13.8, found


def test_the_same_key_goes_the_same_way_in_another_process() -> None:
    keys = [f"user-{n}" for n in range(50)]
    code = (
        "import random; from service.routing.schema import parse; from service.routing.plan import choose\n"
        f"split = parse({SPLIT!r}).by_name['m'].split\n"
        f"print(*[choose('m', split, key, random.Random()) for key in {keys!r}])"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    split = parse(SPLIT).by_name["m"].split
    here = [str(choose("m", split, key, random.Random())) for key in keys]
    assert here == there and len(set(here)) > 1


def test_another_route_splits_the_same_keys_otherwise() -> None:
    split = parse("routes: {m: {split: [{target: a}, {target: b}]}}").by_name["m"].split
    keys = [f"user-{n}" for n in range(2000)]
    same = sum(choose("one", split, key, CHANCE) == choose("two", split, key, CHANCE) for key in keys)
    assert 850 < same < 1150, "of independent halves, half"


def test_a_changed_weight_moves_only_the_keys_that_must_move() -> None:
    def ways(canary: int, *more: str) -> dict[str, str]:
        others = "".join(f", {{target: {name}, weight: 20}}" for name in more)
        two = f"{{target: m/1, weight: {100 - canary}}}, {{target: m/2, weight: {canary}}}"
        text = f"routes: {{m: {{split: [{two}{others}]}}}}"
        split = parse(text).by_name["m"].split
        return {key: str(choose("m", split, key, CHANCE)) for key in (f"user-{n}" for n in range(10_000))}

    five, ten = ways(5), ways(10)
    moved = {key: (five[key], ten[key]) for key in five if five[key] != ten[key]}
    assert set(moved.values()) == {("m/1", "m/2")}
    assert math.isclose(len(moved), 500, rel_tol=0.2)
    three = ways(5, "x")
    assert {three[key] for key in five if three[key] != five[key]} == {"x"}, (
        "a new target takes keys, none change place"
    )


LABELLED = """
routes:
  digits:
    split: [{target: lenet5/1, weight: 9}, {target: lenet5/2}]
    labels: {stable: 1, canary: lenet5/2}
    fallback: [mobilenet]
    shadow: mobilenet
  mixed:
    split: [lenet5, mobilenet]
    labels: {best: mobilenet/3}
"""


def test_a_version_or_label_asked_for_is_that_one_and_nothing_else() -> None:
    assert steps(LABELLED, ModelRef("digits", label="canary")) == ["lenet5/2"]
    assert steps(LABELLED, ModelRef("digits", 7)) == ["lenet5/7"]
    assert steps(LABELLED, ModelRef("digits", label="int8")) == ["lenet5@int8"], "every export's own label"
    exact = plan(LABELLED, ModelRef("digits", label="stable"))
    assert isinstance(exact, Plan) and exact.shadow is None and exact.exact
    assert steps(LABELLED, ModelRef("mixed", label="best")) == ["mobilenet/3"]
    alias = LABELLED + "  alias: digits"
    through = plan(alias, ModelRef("alias", label="canary"))
    assert isinstance(through, Plan) and isinstance(through.steps[0], Plan)
    assert through.steps[0].steps == (ModelRef("lenet5", 2),), "an alias has its target's labels"
    assert parse(alias).stands_for(ModelRef("alias", 7)) == ModelRef("lenet5", 7)
    with pytest.raises(InvalidInput, match=r"no version label 'int8'.*\['best'\]"):
        plan(LABELLED, ModelRef("mixed", label="int8"))
    with pytest.raises(NotFound, match=r"Specific\(mixed, 2\).*lenet5 or mobilenet"):
        plan(LABELLED, ModelRef("mixed", 2))


def test_fallbacks_come_after_what_was_chosen_and_never_twice() -> None:
    text = "routes: {m: {split: [a, b], fallback: [b, c]}}"
    orders = {tuple(steps(text, "m", f"user-{n}")) for n in range(50)}
    assert orders == {("a", "b", "c"), ("b", "c")}


def test_a_share_of_the_calls_has_a_shadow_and_never_the_answering_version() -> None:
    routes, chance = parse("routes: {m: {split: [a, b], shadow: {target: b, share: 0.25}}}"), random.Random(3)
    plans = [routes.plan(ModelRef("m"), "", chance) for _ in range(8000)]
    shadows = Counter((str(one.steps[0]), str(one.shadow)) for one in plans if isinstance(one, Plan) and one.shadow)
    assert set(shadows) == {("a", "b")}
    assert math.isclose(shadows["a", "b"], 8000 * 0.5 * 0.25, rel_tol=0.15)


def test_an_ensemble_asks_every_member_even_one_behind_a_split() -> None:
    text = "routes: {both: {ensemble: {members: [{target: a, weight: 2}, s], quorum: 1}}, s: {split: [b, c]}}"
    found = plan(text, "both", "key")
    assert isinstance(found, Plan)
    (average,) = found.steps
    assert isinstance(average, Average)
    assert average.quorum == 1 and [weight for _, weight in average.members] == [2.0, 1.0]
    first, second = (step for step, _ in average.members)
    assert first == ModelRef("a") and isinstance(second, Plan) and str(second.steps[0]) in ("b", "c")


def test_a_routes_deadline_is_its_own_or_its_targets() -> None:
    routes = parse("routes: {a: b, b: {target: c, latency_slo_ms: 50}, c: {latency_slo_ms: 70}, d: {split: [b, c]}}")
    assert [routes.latency_slo(name) for name in "abcde"] == [0.05, 0.05, 0.07, None, None]


def test_what_describes_a_route_is_what_answers_most() -> None:
    routes = parse(LABELLED)
    assert routes.stands_for(ModelRef("digits")) == ModelRef("lenet5", 1)
    assert routes.stands_for(ModelRef("digits", label="canary")) == ModelRef("lenet5", 2)
    assert routes.stands_for(ModelRef("mobilenet", 5)) == ModelRef("mobilenet", 5)
    ensemble = parse("routes: {both: {ensemble: {members: [{target: a, weight: 2}, {target: b, weight: 3}]}}}")
    assert ensemble.stands_for(ModelRef("both")) == ModelRef("a")
