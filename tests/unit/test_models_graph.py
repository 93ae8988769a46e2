"""Cutting a graph: what a branch reads is kept, what the tensor does not need is gone."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper

from models import graph
from models.errors import InvalidSpec


def branching() -> bytes:
    """`picture` goes through an If whose branches read `weights` of the outer graph; `unused` is read by `label`."""
    declared = helper.make_tensor_value_info
    branches = {
        name: helper.make_graph(
            [helper.make_node(kind, ["picture", "weights"], [name])],
            name,
            [],
            [declared(name, TensorProto.FLOAT, None)],
        )
        for name, kind in (("then", "Mul"), ("else", "Add"))
    }
    whole = helper.make_graph(
        [
            helper.make_node("If", ["yes"], ["map"], then_branch=branches["then"], else_branch=branches["else"]),
            helper.make_node("Add", ["map", "unused"], ["label"]),
        ],
        "branching",
        [declared("picture", TensorProto.FLOAT, ["n", 2])],
        [declared("label", TensorProto.FLOAT, None)],
        [
            helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
            helper.make_tensor("weights", TensorProto.FLOAT, [2], [2.0, 3.0]),
            helper.make_tensor("unused", TensorProto.FLOAT, [2], [0.0, 0.0]),
        ],
    )
    return bytes(helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())


def test_a_branch_keeps_what_it_reads_of_the_outer_graph() -> None:
    # Given a model cut at the result of a branch
    cut = onnx.load_model_from_string(graph.cut_at(branching(), "map"))

    # Then the weights inside the branch are there, those behind the cut are not, and it computes
    assert {item.name for item in cut.graph.initializer} == {"yes", "weights"}
    (found,) = onnx.reference.ReferenceEvaluator(cut).run(None, {"picture": np.ones((1, 2), np.float32)})
    assert found.tolist() == [[2.0, 3.0]]


def classifying() -> bytes:
    """`picture` is pooled twice and classified; its weights are inputs too, as in files of old versions."""
    declared = helper.make_tensor_value_info
    whole = helper.make_graph(
        [
            helper.make_node("MaxPool", ["picture"], ["first"], kernel_shape=[2, 2]),
            helper.make_node("MaxPool", ["first"], ["second"], kernel_shape=[2, 2]),
            helper.make_node("Flatten", ["second"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights"], ["label"]),
        ],
        "classifying",
        [declared("picture", TensorProto.FLOAT, ["n", 1, 3, 3]), declared("weights", TensorProto.FLOAT, [1, 2])],
        [declared("label", TensorProto.FLOAT, None)],
        [helper.make_tensor("weights", TensorProto.FLOAT, [1, 2], [2.0, 3.0])],
    )
    return bytes(helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())


@pytest.mark.parametrize("tensor", ["second", "last MaxPool"])
def test_weights_behind_the_cut_are_no_inputs_any_more(tensor: str) -> None:
    cut = onnx.load_model_from_string(graph.cut_at(classifying(), tensor))
    assert [item.name for item in cut.graph.input] == ["picture"]
    picture = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    (found,) = onnx.reference.ReferenceEvaluator(cut).run([tensor], {"picture": picture})
    assert found.ravel().tolist() == [8.0]


@pytest.mark.parametrize("tensor", ["third", "last GlobalAveragePool"])
def test_a_tensor_that_is_not_there_is_answered_with_likely_ones(tensor: str) -> None:
    with pytest.raises(InvalidSpec, match=f"no tensor '{tensor}'; .*, perhaps to flat or second or first"):
        graph.cut_at(classifying(), tensor)
