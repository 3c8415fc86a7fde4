"""Whether calls of a SavedModel's signatures change its variables: its answers then depend on the calls before."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

MetaGraph = Any
"""tensorflow.core.protobuf.meta_graph_pb2.MetaGraphDef: generated code carries no types."""

_WRITE = re.compile(
    "(Resource)?(StridedSlice)?Assign.*|(Resource)?(Sparse)?Apply.*|(Resource)?CountUpTo|LookupTable(Insert|Remove).*|"
    "(Resource)?Scatter(Add|Div|Max|Min|Mul|Sub|Update|Nd(Add|Max|Min|Sub|Update))"
)


def has_writes(graph: MetaGraph, signatures: Iterable[str]) -> bool:
    """What initialises and restores variables does not count: no output of a signature needs it."""
    nodes = {node.name: node for node in graph.graph_def.node}
    functions = {each.signature.name: each for each in graph.graph_def.library.function}
    ahead = [info.name for name in signatures for info in graph.signature_def[name].outputs.values()]
    seen: set[str] = set()
    called: list[str] = []
    while ahead:
        name = ahead.pop().removeprefix("^").partition(":")[0]
        if name in nodes and name not in seen:
            seen.add(name)
            if _WRITE.fullmatch(nodes[name].op):
                return True
            ahead.extend(nodes[name].input)
            called.extend(_find_calls(nodes[name]))
    entered: set[str] = set()
    while called:
        name = called.pop()
        if name in functions and name not in entered:
            entered.add(name)
            for node in functions[name].node_def:
                if _WRITE.fullmatch(node.op):
                    return True
                called.extend(_find_calls(node))
    return False


def _find_calls(node: Any) -> Iterator[str]:
    """Names of functions, and other names."""
    yield node.op
    for value in node.attr.values():
        yield value.func.name
        yield from (each.name for each in value.list.func)
