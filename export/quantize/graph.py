"""The GraphDef of a SavedModel, walked from its ends."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from service.repository.manifest import SAVED_MODEL


def read_document(folder: Path) -> Any:
    """The SavedModel of a version folder, one graph in it."""
    from tensorflow.core.protobuf import saved_model_pb2

    document = saved_model_pb2.SavedModel()
    document.ParseFromString((folder / SAVED_MODEL).read_bytes())
    return document


def read_graph(folder: Path) -> Any:
    return read_document(folder).meta_graphs[0].graph_def


def find_ancestors(nodes: dict[str, Any], ends: Iterable[str], until: str) -> set[str]:
    """Names of everything that `ends` are computed from, themselves included; not `until` nor what is before it."""
    found: set[str] = set()
    open_ends = [find_node(end) for end in ends]
    while open_ends:
        name = open_ends.pop()
        if name not in found and name != until:
            found.add(name)
            open_ends += [find_node(source) for source in nodes[name].input]
    return found


def find_node(source: str) -> str:
    """The name of the node behind an edge such as "add:0" or "^check"."""
    return source.removeprefix("^").partition(":")[0]
