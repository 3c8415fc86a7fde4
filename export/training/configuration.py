"""What the layers of two Keras networks compute, compared: kinds, settings and wiring, whatever they are called."""

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

# Settings that only training sees, or that name things.
_UNSEEN = frozenset(
    {
        "activity_regularizer", "autocast", "batch_input_shape", "batch_shape", "build_config", "build_input_shape",
        "dtype", "init_values", "momentum", "name", "registered_name", "seed", "shared_object_id", "synchronized",
        "trainable",
    }
)  # fmt: skip
_UNSEEN_ENDINGS = ("_initializer", "_regularizer", "_constraint")

# Layers that let everything pass once training is over.
PASSIVE = frozenset(
    {
        "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "Identity",
        "RandomBrightness", "RandomContrast", "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom",
        "SpatialDropout2D", "StochasticDepth",
    }
)  # fmt: skip

NETWORKS = frozenset({"Functional", "Model", "Sequential"})
_INPUTS = "InputLayer"
HEAD = frozenset({"Flatten", "GlobalAveragePooling2D", "GlobalMaxPooling2D"})
_INPUT = -1
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer that has a part in the answer. `inputs` are the places of those it takes from, -1 for the image."""

    name: str
    kind: str
    settings: Mapping[str, Any]
    shapes: tuple[tuple[int, ...], ...]
    inputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference, as text; `place` is that of our layer it concerns."""

    place: int
    text: str


def read_layers(model: Any, leave_out: Callable[[Layer], bool] | None = None) -> tuple[Layer, ...]:
    """The layers of a Functional or Sequential `model` in order, without inputs and those that only train.

    `leave_out` says which others are passed through as well.
    """
    layers: list[Layer] = []
    parts = {each.name: each for each in (model.operations if hasattr(model, "operations") else model.layers)}
    places: dict[str, tuple[int, ...]] = {}
    previous: tuple[int, ...] = (_INPUT,)
    for entry in model.get_config()["layers"]:
        name, kind = entry["config"]["name"], entry["class_name"]
        inputs = previous
        if "inbound_nodes" in entry:  # a Sequential has none
            sources = _sources(entry["inbound_nodes"])
            inputs = tuple(place for source in sources for place in places.get(source, (_INPUT,)))
        if kind == _INPUTS:
            places[name] = (_INPUT,)
        elif is_passive(entry):
            places[name] = inputs
        else:
            shapes = tuple(tuple(weight.shape) for weight in getattr(parts.get(name), "weights", ()))
            layer = Layer(name, kind, _settings(entry), shapes, inputs)
            if leave_out is not None and leave_out(layer):
                places[name] = inputs
            else:
                layers.append(layer)
                places[name] = (len(layers) - 1,)
        previous = places[name]
    return tuple(layers)


def compare(theirs: Sequence[Layer], ours: Sequence[Layer]) -> tuple[Difference, ...]:
    """How another network differs from ours, in the order of our layers; empty where they compute the same."""
    counterparts: dict[int, int] = {_INPUT: _INPUT}
    found: list[Difference] = []
    for tag, first, last, start, stop in _align(theirs, ours):
        for their, our in zip_longest(range(first, last), range(start, stop)):
            if their is not None and our is not None:
                counterparts[their] = our
                if tag == "replace":
                    found.append(Difference(our, f"{_title(theirs[their])} instead of {_title(ours[our])}"))
            elif their is not None:
                found.append(Difference(stop, f"an extra {_title(theirs[their])}{_summary(theirs[their])}"))
            else:
                found.append(Difference(our, f"no {_title(ours[our])}"))
    for their, our in counterparts.items():
        if our == _INPUT or theirs[their].kind != ours[our].kind:
            continue
        found += [Difference(our, text) for text in _differences(theirs[their], ours[our])]
        taken = [counterparts.get(place) for place in theirs[their].inputs]
        if None not in taken and tuple(taken) != ours[our].inputs:
            names = " and ".join(_name(theirs, place) for place in theirs[their].inputs)
            wanted = " and ".join(_name(ours, place) for place in ours[our].inputs)
            found.append(Difference(our, f"{theirs[their].name!r} takes {names} (ours takes {wanted})"))
    return tuple(sorted(found, key=lambda each: each.place))


def find_head(layers: Sequence[Layer]) -> int:
    """The place where what classifies begins: the first pooling or flattening of the chain that ends the network."""
    readers = Counter(place for layer in layers for place in layer.inputs)
    head, at = len(layers), len(layers) - 1
    while at != _INPUT:
        if layers[at].kind in HEAD:
            head = at
        if len(layers[at].inputs) != 1 or readers[layers[at].inputs[0]] != 1:
            break
        at = layers[at].inputs[0]
    return head


def list_nested(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Those that are networks of their own."""
    return tuple(layer for layer in layers if layer.kind in NETWORKS)


def _align(theirs: Sequence[Layer], ours: Sequence[Layer]) -> Sequence[tuple[str, int, int, int, int]]:
    if len(theirs) == len(ours):
        return [
            ("equal" if their.kind == our.kind else "replace", place, place + 1, place, place + 1)
            for place, (their, our) in enumerate(zip(theirs, ours, strict=True))
        ]
    kinds = [layer.kind for layer in theirs], [layer.kind for layer in ours]
    return difflib.SequenceMatcher(None, *kinds, autojunk=False).get_opcodes()


def _differences(theirs: Layer, ours: Layer) -> Iterator[str]:
    same = True
    for key in sorted(theirs.settings.keys() | ours.settings.keys()):
        their, our = theirs.settings.get(key), ours.settings.get(key)
        if their != our:
            same = False
            yield f"{theirs.name!r} has {key} {_short(their)} (ours has {_short(our)})"
    if same and theirs.shapes != ours.shapes:
        yield f"{theirs.name!r} has weights of shapes {_short(theirs.shapes)} (ours has {_short(ours.shapes)})"


def _sources(nodes: Any) -> list[str]:
    """The names of the layers that a layer's calls take from."""
    if isinstance(nodes, dict):
        if "keras_history" in nodes:
            return [str(nodes["keras_history"][0])]
        nodes = list(nodes.values())
    if isinstance(nodes, (list, tuple)):
        return [name for each in nodes for name in _sources(each)]
    return []


def is_passive(entry: Mapping[str, Any]) -> bool:
    """Whether a layer, as a network's configuration has it, lets everything pass once training is over."""
    kind, config = entry["class_name"], entry["config"]
    if kind == "Activation":
        return bool(config.get("activation") == "linear")
    if kind in NETWORKS:
        return all(each["class_name"] == _INPUTS or is_passive(each) for each in config.get("layers", ()))
    return kind in PASSIVE


def _settings(entry: Mapping[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = _plain(entry["config"])
    # Anything else that a call is given, such as the other operand of a sum.
    if constants := _constants(entry.get("inbound_nodes", ())):
        settings["called with"] = constants
    return settings


def _constants(nodes: Any) -> list[Any]:
    if isinstance(nodes, dict):
        if "keras_history" in nodes.get("config", ()):
            return []
        return [found for key, each in nodes.items() if key not in ("mask", "training") for found in _constants(each)]
    if isinstance(nodes, (list, tuple)):
        return [found for each in nodes for found in _constants(each)]
    return [] if nodes is None else [nodes]


def _plain(value: Any) -> Any:
    """A configuration without what is unseen in use; sequences are lists, arrays too."""
    if isinstance(value, dict):
        if "class_name" in value and "config" in value:
            return {"class_name": value["class_name"], "config": _plain(value["config"])}
        return {
            key: _plain(each)
            for key, each in value.items()
            if key not in _UNSEEN and not key.endswith(_UNSEEN_ENDINGS) and key != "module"
        }
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _title(layer: Layer) -> str:
    return f"{layer.kind} {layer.name!r}"


def _name(layers: Sequence[Layer], place: int) -> str:
    return "the image" if place == _INPUT else repr(layers[place].name)


def _summary(layer: Layer) -> str:
    told = ", ".join(f"{key} {_short(value)}" for key, value in layer.settings.items() if isinstance(value, float))
    return f" ({told})" if told else ""


def _short(value: Any) -> str:
    text = repr(value.get("class_name", value) if isinstance(value, dict) else value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
