"""Looking into graphs: what is proposed, and what is refused with which reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import ModelProto, TensorProto, helper

from models.errors import InvalidSpec
from models.inspection import Look, Wishes, look
from tests import own_graphs
from tests.data import MODELS, needs_shared_data
from tests.graphs import TRUE
from tests.own_graphs import FIXED, SIDE, saved, typed

SMALL = Wishes(height=SIDE, width=SIDE)


def seen(model: ModelProto, folder: Path, **wishes: Any) -> Look:
    return look(saved(model, folder), Wishes(**wishes))


def proposal(found: Look) -> tuple[str, str, int]:
    first = found.candidates[0]
    return first.tensor, first.pool, first.dimension


# --- what is proposed


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (own_graphs.resnet, ("pool", "none", 8)),
        (own_graphs.vgg, ("fc1_relu", "none", 30)),
        (own_graphs.keras, ("pool", "none", 8)),
        (lambda: own_graphs.keras(top=False), ("map", "mean", 8)),
        (own_graphs.squeezenet, ("relu", "mean", 8)),
        (own_graphs.backbone, ("out", "none", 24)),
        (own_graphs.only_a_map, ("relu", "mean", 8)),
        (own_graphs.half, ("vector", "none", 8)),
    ],
)
def test_the_tensor_before_the_classifier_is_proposed(
    tmp_path: Path, build: Callable[[], ModelProto], expected: tuple[str, str, int]
) -> None:
    assert proposal(seen(build(), tmp_path)) == expected


@pytest.mark.parametrize(
    ("build", "expected"),
    [(own_graphs.vit, ("token", "none", 12)), (own_graphs.clip, ("image_embeds", "none", 6))],
)
def test_a_size_that_is_free_is_the_one_that_was_asked_for(
    tmp_path: Path, build: Callable[[], ModelProto], expected: tuple[str, str, int]
) -> None:
    found = seen(build(), tmp_path, height=SIDE, width=SIDE)
    assert proposal(found) == expected
    assert (found.input.height, found.input.width, found.input.fixed_size) == (SIDE, SIDE, False)


#: Name in the catalogue -> what its specification takes, or the tensor before it that is the same numbers.
AS_IN_THE_CATALOGUE = {
    "clip-vit-b32": ("image_embeds", "none", 512),
    "efficientnet-lite4": ("efficientnet-lite4/model/head/AvgPool:0", "none", 1280),
    "mobilenetv2": ("464", "none", 1280),
    "mobilenetv2-int8": ("464_QuantizeInput", "none", 1280),
    "resnet18-v2": ("resnetv22_pool1_fwd", "none", 512),
    "resnet50-v1": ("resnetv17_pool1_fwd", "none", 2048),
    "resnet50-v1-int8": ("resnetv17_pool1_fwd_QuantizeInput", "none", 2048),
    "squeezenet1.1": ("squeezenet0_concat7", "mean", 512),
    "vgg16": ("vgg0_dense1_relu_fwd", "none", 4096),
    "vgg16-int8": ("vgg0_dense1_relu_fwd_QuantizeInput", "none", 4096),
}


@pytest.mark.parametrize("name", AS_IN_THE_CATALOGUE)
def test_true_architectures_are_understood(tmp_path: Path, name: str) -> None:
    assert proposal(seen(TRUE[name](), tmp_path)) == AS_IN_THE_CATALOGUE[name]


@needs_shared_data
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mobilenetv2-12-fp32", ("features", "none", 1280)),
        ("mobilenetv2-12-qdq", ("464_QuantizeInput", "none", 1280)),
        ("squeezenet1.1-fp32", ("features", "none", 512)),
    ],
)
def test_real_files_are_understood(name: str, expected: tuple[str, str, int]) -> None:
    assert proposal(look(MODELS / name / f"{name}.onnx", Wishes())) == expected


def test_the_last_map_and_the_dense_layers_can_be_chosen_too(tmp_path: Path) -> None:
    rows = {item.tensor: (item.pool, item.dimension) for item in seen(own_graphs.vgg(), tmp_path).candidates}
    assert rows == {"fc1_relu": ("none", 30), "fc0_relu": ("none", 40), "pool": ("max", 8), "fc2": ("none", 10)}


def test_a_map_inside_a_model_that_takes_channels_last_says_that_its_own_are_first(tmp_path: Path) -> None:
    found = seen(own_graphs.keras(), tmp_path)
    maps = {item.tensor: (item.layout, item.dimension) for item in found.candidates if item.is_map}
    assert found.input.layout == "NHWC"
    assert maps == {"relu": ("NCHW", 8)}
    assert seen(own_graphs.keras(top=False), tmp_path).candidates[0].layout is None


def test_an_inner_tensor_can_be_asked_for(tmp_path: Path) -> None:
    found = seen(own_graphs.resnet(), tmp_path, feature="relu0", pool="max")
    assert [(item.tensor, item.pool, item.shape) for item in found.candidates] == [("relu0", "max", (8, 16, 16))]


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        ({"feature": "nowhere"}, "no tensor 'nowhere'"),
        ({"feature": "fc", "pool": "max"}, "nothing to pool"),
        ({"feature": "conv0_weight"}, "of a picture alone"),
        ({"height": 64, "width": 64}, "32 pixels high, not 64; leave out --size"),
        ({"layout": "NHWC"}, "as NCHW; leave out --layout"),
    ],
)
def test_a_wish_that_cannot_be_is_refused(tmp_path: Path, wishes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidSpec, match=reason):
        seen(own_graphs.resnet(), tmp_path, **wishes)


def test_the_layout_of_free_axes_is_told_by_their_use(tmp_path: Path) -> None:
    free = ["N", "a", "b", "c"]
    first = own_graphs.resnet(free)
    last = own_graphs.keras()
    last.graph.input[0].CopyFrom(helper.make_tensor_value_info("input_1", TensorProto.FLOAT, free))
    assert look(saved(first, tmp_path), SMALL).input.layout == "NCHW"
    assert look(saved(last, tmp_path), SMALL).input.layout == "NHWC"


def test_shapes_that_the_file_tells_are_not_believed(tmp_path: Path) -> None:
    model = own_graphs.resnet()
    model.graph.value_info.append(helper.make_tensor_value_info("pool", TensorProto.FLOAT, ["N", 9999, 1, 1]))
    assert proposal(seen(model, tmp_path)) == ("pool", "none", 8)


def test_a_shape_that_is_not_told_is_found_by_running_the_graph(tmp_path: Path) -> None:
    # Given an operator of ONNX Runtime that the onnx package knows nothing of, before the classifier
    model = own_graphs.resnet()
    gelu = helper.make_node("Gelu", ["pool"], ["bent"], domain="com.microsoft")
    model.graph.node.insert(6, gelu)
    model.graph.node[7].input[0] = "bent"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))

    # When it is looked into, then the tensor has its shape
    found = seen(model, tmp_path, feature="bent")
    assert [(item.shape, item.dimension) for item in found.candidates] == [((8, 1, 1), 8)]


def test_operators_that_the_file_itself_defines_are_its_own_affair(tmp_path: Path) -> None:
    model = own_graphs.resnet()
    body = [helper.make_node("Relu", ["x"], ["y"])]
    model.functions.append(helper.make_function("mine", "Bend", ["x"], ["y"], body, [helper.make_opsetid("", 13)]))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.graph.node[1].CopyFrom(helper.make_node("Bend", ["conv0"], ["relu0"], domain="mine"))
    assert proposal(seen(model, tmp_path)) == ("pool", "none", 8)


# --- what no picture can go through


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (typed(TensorProto.STRING), "takes string, not pixels"),
        (typed(TensorProto.INT64), "takes int64, not pixels"),
        (typed(TensorProto.FLOAT, ["N", 300]), "has 2 axes, not the 4"),
        (typed(TensorProto.FLOAT, ["N", 1, SIDE, SIDE]), "pictures of 1 channel, not of 3"),
        (typed(TensorProto.FLOAT, ["N", SIDE, SIDE, 4]), "pictures of 4 channels, not of 3"),
        (typed(TensorProto.FLOAT, FIXED, "other"), "several pictures at once"),
        (typed(TensorProto.FLOAT, ["N", 3, 100_000, 8]), "100000 pixels high; 4096 are the most"),
        (typed(TensorProto.FLOAT, ["N", 3, 300, 300]), "270,000 numbers, and 32,768 are the most"),
        (typed(TensorProto.FLOAT, ["N", "a", "b", "c"]), "add --layout"),
    ],
)
def test_a_graph_that_no_picture_goes_through_is_refused_with_the_reason(
    tmp_path: Path, model: ModelProto, reason: str
) -> None:
    with pytest.raises(InvalidSpec, match=reason):
        seen(model, tmp_path)


def test_one_vector_for_each_place_is_not_one_for_the_picture(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="one vector for each of 17 places"):
        look(saved(own_graphs.vit(head=False), tmp_path), SMALL)


def test_a_single_number_is_no_vector(tmp_path: Path) -> None:
    model = own_graphs.only_a_map()
    model.graph.node.append(helper.make_node("ReduceMax", ["relu"], ["best"], keepdims=0))
    model.graph.output[0].name = "best"
    with pytest.raises(InvalidSpec, match="'best' is a single number; name an inner tensor"):
        seen(model, tmp_path)


def test_what_lies_before_a_single_score_is_proposed(tmp_path: Path) -> None:
    model = own_graphs.resnet()
    model.graph.node.append(helper.make_node("ReduceMax", ["fc"], ["score"], axes=[1]))
    model.graph.output[0].name = "score"
    found = seen(model, tmp_path)
    assert [item.tensor for item in found.candidates] == ["pool", "relu1"]


def test_an_output_that_needs_a_text_is_no_vector_of_a_picture(tmp_path: Path) -> None:
    model = own_graphs.clip()
    del model.graph.output[1:]
    with pytest.raises(InvalidSpec, match="'logits_per_image' needs other inputs than a picture"):
        look(saved(model, tmp_path), SMALL)
    asked = Wishes(SIDE, SIDE, feature="image_embeds")
    assert proposal(look(saved(model, tmp_path), asked)) == ("image_embeds", "none", 6)
