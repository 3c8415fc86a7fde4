"""Every mistake in a file of routes is one line that names the place and what to do."""

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.routing.schema import RoutesError, parse

MISTAKES = {
    "nothing": ("", "routes: {}"),
    "only a comment": ("# later\n", "empty"),
    "no mapping": ("- a\n- b\n", "line 1, the file: takes keys and values (only_routes, routes)"),
    "no YAML": ("routes:\n  a: {target: [b\n", "line 3"),
    "a tab": ("routes:\n\ta: b\n", "line 2"),
    "not printable": ("routes: {a: b\x00}", "not allowed"),
    "a tag": ("routes: !!python/object:os.system {}\n", "line 1, routes: 'tag:yaml.org,2002:python"),
    "a key twice": ("routes:\n  a: b\n  a: c\n", "line 3, routes.a: given twice"),
    "a number that is none": ("routes: {a: {target: b, max_rows: 0x_}}", "line 1"),
    "a date": ("routes: {2001-01-01: b}", "routes"),
    "very deep": ("[" * 5000, "too deep"),
    "much of little": (
        "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{b}: &{b} [{','.join(['*' + a] * 10)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)),
        "more than 100,000 values",
    ),
    "itself inside": ("routes: &r\n  a: *r\n", "contains itself"),
    "unknown at the top": ("routs: {a: b}\n", "line 1, routs: unknown key; did you mean 'routes'?"),
    "unknown in a route": (
        "routes:\n  a:\n    target: b\n    fallbck: [c]\n",
        "line 4, routes.a.fallbck: unknown key; did you mean 'fallback'?",
    ),
    "unknown in a split": (
        "routes:\n  a:\n    split:\n      - {target: b, wieght: 3}\n",
        "line 4, routes.a.split[0].wieght: unknown key; did you mean 'weight'?",
    ),
    "unknown and like nothing": ("routes: {a: {xyzzy: 1}}", "known here: target, split"),
    "a number for a name": ("routes: {a: {target: 3}}", "line 1, routes.a.target: input should be a valid string"),
    "a name that is a number": ("routes: {7: b}", "routes.7: a name that reads as a number goes in quotes"),
    "a target that is none": ("routes: {a: 'b/c'}", "routes.a.target: 'b/c' is no target; a target is"),
    "a path for a name": ("routes: {'../a': b}", "a route's name has letters"),
    "text for a weight": ("routes: {a: {split: [{target: b, weight: ten}]}}", "routes.a.split[0].weight"),
    "a negative weight": ("routes: {a: {split: [{target: b, weight: -1}]}}", "greater than or equal to 0"),
    "NaN": ("routes: {a: {split: [{target: b, weight: .nan}]}}", "weight"),
    "weights of 0": (
        "routes:\n  a:\n    split:\n    - {target: b, weight: 0}\n    - {target: c, weight: 0.0}\n",
        "line 3, routes.a.split: the weights sum up to 0",
    ),
    "a target twice": (
        "routes:\n  a:\n    split: [b/1, b/2, b/1]\n",
        "line 3, routes.a.split[2]: target 'b/1' is given twice",
    ),
    "a fallback to itself": (
        "routes: {a: {target: b, fallback: [b]}}",
        "routes.a.fallback[0]: target 'b' is given twice",
    ),
    "no target in a split": ("routes: {a: {split: []}}", "routes.a.split"),
    "split and target": (
        "routes: {a: {target: b, split: [c]}}",
        "one of target, split and ensemble, this has also target",
    ),
    "an ensemble of one": ("routes: {a: {ensemble: {members: [b]}}}", "routes.a.ensemble.members"),
    "a quorum of too many": (
        "routes: {a: {ensemble: {members: [b, c], quorum: 3}}}",
        "routes.a.ensemble.quorum: is 3, of 2",
    ),
    "a circle": (
        "routes:\n  x: y\n  a: b\n  b: {target: m, fallback: [c]}\n  c: a\n",
        "line 3, routes.a: leads back to itself: a -> b -> c -> a",
    ),
    "a circle by shadow": ("routes: {a: {target: m, shadow: b}, b: a}", "a -> b -> a"),
    "a label for nothing": (
        "routes: {a: {target: b, labels: {stable: c}}}",
        "routes.a.labels.stable: a label stands for a version",
    ),
    "a label that is true": ("routes: {a: {target: b, labels: {stable: yes}}}", "a label stands for a version"),
    "a label of several models": (
        "routes: {a: {split: [b, c], labels: {stable: 3}}}",
        "several models: say of which, as in `stable: lenet5/3`",
    ),
    "a label that is a number": ("routes: {a: {target: b, labels: {'3': 3}}}", "is no number"),
    "a target's label that is not there": (
        "routes: {a: {target: a@canry, labels: {canary: 2}}}",
        "'a@canry': route 'a' has no label 'canry'; it has canary",
    ),
    "a shadow of the same": ("routes: {a: {target: b, shadow: b}}", "compare with another"),
    "a share of 200 %": ("routes: {a: {target: b, shadow: {target: c, share: 2}}}", "routes.a.shadow.share"),
    "no time at all": ("routes: {a: {target: b, latency_slo_ms: 0}}", "greater than 0"),
    "half a row": ("routes: {a: {target: b, max_rows: 1.5}}", "routes.a.max_rows"),
    "two at once": ("routes: {a: {max_rows: 0, max_in_flight: 0}}", "(and 1 more)"),
}


@pytest.mark.parametrize(("text", "says"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_that_names_the_place(text: str, says: str) -> None:
    with pytest.raises(RoutesError) as raised:
        parse(text)
    message = str(raised.value)
    assert says in message and "\n" not in message and len(message) < 250, message


KEYS = [
    "routes",
    "only_routes",
    "target",
    "split",
    "ensemble",
    "members",
    "quorum",
    "weight",
    "labels",
    "shadow",
    "a",
    "b",
]
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["a", "b/1", "b@x", "routes"])
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), ANYTHING, max_size=3), ANYTHING)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_in_the_file_is_taken_or_refused_in_one_line(routes: object, anything: object) -> None:
    for document in ({"routes": routes}, anything):
        try:
            parse(yaml.safe_dump(document))
        except RoutesError as error:
            assert "\n" not in str(error)


@given(st.text(alphabet=st.sampled_from("routes: {}[]&*!|>-#'\"\\\t\n,ab1?%@`"), max_size=60))
@settings(max_examples=300, deadline=None)
def test_whatever_the_text_is_too(text: str) -> None:
    try:
        parse(text)
    except RoutesError as error:
        assert "\n" not in str(error)


def test_short_and_long_forms_mean_the_same() -> None:
    short = parse("routes: {a: b, c: {split: [x, y], shadow: z}, d: {}}")
    long = parse(
        "routes: {a: {target: b}, c: {split: [{target: x, weight: 1}, {target: y, weight: 1.0}], "
        "shadow: {target: z, share: 1, deadline_ms: 1000, max_in_flight: 4}}, d: {target: d}}"
    )
    assert short == long


def test_anchors_work() -> None:
    routes = parse("routes:\n  a: {target: m, fallback: &spare [x, y]}\n  b: {target: n, fallback: *spare}\n")
    assert routes.by_name["a"].fallback == routes.by_name["b"].fallback != ()


def test_a_labels_number_is_a_version_of_the_model_behind_all_aliases() -> None:
    routes = parse("routes: {a: {target: b, labels: {stable: 3}}, b: {split: [m/1, m/2]}}")
    assert str(routes.by_name["a"].labels["stable"]) == "m/3"
