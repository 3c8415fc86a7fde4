"""Graphs as TensorFlow writes them: what a signature's output needs is what its call runs."""

from typing import Any

import pytest

from service.protobuf.graph_state import has_writes
from service.protobuf.stubs import meta_graph_pb2


@pytest.fixture
def graph() -> Any:
    """Variables are read by `read`, restored by `restored`, and nothing writes them."""
    made = meta_graph_pb2.MetaGraphDef()
    for name, op, inputs in [
        ("x", "Placeholder", []),
        ("variable", "VarHandleOp", []),
        ("restored", "AssignVariableOp", ["variable", "x"]),
        ("value", "ReadVariableOp", ["variable"]),
        ("read", "Mul", ["x", "value"]),
    ]:
        made.graph_def.node.add(name=name, op=op, input=inputs)
    made.signature_def["serving_default"].outputs["y"].name = "read:0"
    return made


def add_call(graph: Any, function: str, *operations: str) -> None:
    """A signature "other" that calls a function of these operations."""
    made = graph.graph_def.library.function.add()
    made.signature.name = function
    for number, operation in enumerate(operations):
        made.node_def.add(name=f"{number}", op=operation)
    call = graph.graph_def.node.add(name="call", op="StatefulPartitionedCall", input=["x"])
    call.attr["f"].func.name = function
    graph.signature_def["other"].outputs["y"].name = "call:0"


def test_what_restores_variables_is_no_call_of_a_signature(graph: Any) -> None:
    assert not has_writes(graph, ["serving_default"])


@pytest.mark.parametrize("write", ["AssignAddVariableOp", "Assign", "ResourceApplyAdam", "ResourceScatterNdAdd"])
def test_a_write_ahead_of_an_output_is_found(graph: Any, write: str) -> None:
    graph.graph_def.node.add(name="write", op=write, input=["variable", "x"])
    graph.graph_def.node.add(name="after", op="Identity", input=["x", "^write"])
    graph.signature_def["other"].outputs["y"].name = "after:0"
    assert has_writes(graph, ["serving_default", "other"]) and not has_writes(graph, ["serving_default"])


def test_a_write_in_a_function_that_a_function_calls_is_found(graph: Any) -> None:
    add_call(graph, "outer", "ReadVariableOp", "inner")
    assert not has_writes(graph, ["other"])
    inner = graph.graph_def.library.function.add()
    inner.signature.name = "inner"
    inner.node_def.add(name="write", op="AssignSubVariableOp")
    assert has_writes(graph, ["other"])


def test_operations_of_values_are_no_writes(graph: Any) -> None:
    add_call(graph, "pure", "ScatterNd", "TensorScatterUpdate", "ReadVariableOp", "LookupTableFindV2", "pure")
    assert not has_writes(graph, ["other"])
