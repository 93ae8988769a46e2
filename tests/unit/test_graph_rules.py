"""ONNX files that are broken or mean harm: each is refused with its reason."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from models import graph_rules
from models.errors import InvalidSpec
from models.external import places
from models.graph import cut_at
from models.graph_rules import check
from models.inspection import Look, Wishes, look
from models.spec import read
from models.text import TextEncoder
from tests import own_graphs, two_tower
from tests.own_graphs import outside, saved


def seen(model: ModelProto, folder: Path, **wishes: Any) -> Look:
    return look(saved(model, folder), Wishes(**wishes))


@pytest.mark.parametrize("data", [b"", b"\xff" * 1000, b"PK\x03\x04" + bytes(100), b"\x08\x07"])
def test_bytes_that_are_no_model_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "own.onnx").write_bytes(data)
    with pytest.raises(InvalidSpec, match="no ONNX model"):
        look(tmp_path / "own.onnx", Wishes())


def test_every_file_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    whole = own_graphs.resnet().SerializeToString()
    for length in range(0, len(whole), 97):
        (tmp_path / "own.onnx").write_bytes(whole[:length])
        with pytest.raises(InvalidSpec):
            look(tmp_path / "own.onnx", Wishes())


@pytest.mark.parametrize(
    "location", ["../out.bin", "/etc/hostname", "a/../../out.bin", "..", "", "C:\\x", "~/x", ".hidden"]
)
def test_weights_out_of_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    file = outside(own_graphs.resnet(), tmp_path / "own", "weights.bin")
    (tmp_path / "out.bin").write_bytes((tmp_path / "own" / "weights.bin").read_bytes())
    model = onnx.load(file, load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = location
    with pytest.raises(InvalidSpec, match="not below its own folder"):
        seen(model, tmp_path / "own")


def test_weights_of_a_constant_node_may_not_be_out_of_the_folder_either(tmp_path: Path) -> None:
    model = own_graphs.resnet()
    value = TensorProto(data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    value.external_data.add(key="location", value="/etc/hostname")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["constant"], value=value))
    with pytest.raises(InvalidSpec, match="not below its own folder"):
        seen(model, tmp_path)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    file = outside(own_graphs.resnet(), tmp_path / "own", "weights.bin")
    (tmp_path / "own" / "weights.bin").rename(tmp_path / "out.bin")
    (tmp_path / "own" / "weights.bin").symlink_to(tmp_path / "out.bin")
    with pytest.raises(InvalidSpec, match="link that leads out of its folder"):
        look(file, Wishes())


def changed(change: Callable[[ModelProto], Any]) -> ModelProto:
    model = own_graphs.resnet()
    change(model)
    return model


def _in_a_circle(model: ModelProto) -> None:
    model.graph.node[0].input[0] = "sum"


def _nested(depth: int) -> onnx.GraphProto:
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    inner = helper.make_node("Identity", ["data"], ["out"])
    if depth:
        branches = {name: _nested(depth - 1) for name in ("then_branch",)}
        inner = helper.make_node("If", ["yes"], ["out"], **branches)
    return helper.make_graph([inner], "branch", [], [output])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_in_a_circle, "runs in a circle"),
        (lambda model: model.graph.node.pop(2), "which nothing before it has written"),
        (lambda model: model.graph.node.append(model.graph.node[1]), "written twice"),
        (lambda model: model.graph.output.add(name="nowhere"), "Nothing writes the output 'nowhere'"),
        (lambda model: setattr(model.opset_import[0], "version", 999), "version 999"),
        (lambda model: setattr(model.opset_import[0], "version", 2), "version 2 "),
        (lambda model: model.opset_import.pop(), "does not say which version"),
        (lambda model: setattr(model.graph.node[1], "domain", "evil"), "operator evil:Relu, which is not part of ONNX"),
        (
            lambda model: model.graph.node.append(
                helper.make_node("EPContext", [], ["x"], domain="com.microsoft", ep_cache_context="../x")
            ),
            "operator com.microsoft:EPContext",
        ),
        (lambda model: model.graph.initializer[0].dims.append(2**40), "declare .* bytes and hold another number"),
        (lambda model: setattr(model.graph.initializer[0], "raw_data", b"1234"), "hold another number"),
        (lambda model: setattr(model.graph.initializer[0], "data_type", 99), "type or size that is not known"),
        (lambda model: model.graph.node.extend(_nested(12).node), "more than 8 deep"),
        (lambda model: model.graph.node[-1].output.append("x" * 501), "name has 501 letters"),
        (
            lambda model: model.graph.node.extend([onnx.NodeProto()] * graph_rules.MAX_NODES),
            "more than 100,000 nodes",
        ),
    ],
)
def test_a_graph_that_breaks_a_rule_is_refused(change: Callable[[ModelProto], Any], reason: str) -> None:
    with pytest.raises(InvalidSpec, match=reason):
        check(changed(change))


def test_a_custom_operator_is_left_to_onnx_runtime_if_that_is_wanted() -> None:
    check(changed(lambda model: setattr(model.graph.node[1], "domain", "evil")), custom_operators=True)


@pytest.mark.parametrize("data", [b"", b"1234", bytes(100_000)])
def test_a_file_of_weights_that_does_not_hold_them_is_refused(tmp_path: Path, data: bytes) -> None:
    file = outside(own_graphs.resnet(), tmp_path, "weights.bin", data=data)
    model = onnx.load(file, load_external_data=False)
    model.graph.initializer[0].external_data[1].value = "99990"
    with pytest.raises(InvalidSpec, match="which does not hold them there"):
        cut_at(model.SerializeToString(), "pool", {"weights.bin": data})
    with pytest.raises(InvalidSpec, match="its specification does not name"):
        cut_at(model.SerializeToString(), "pool")


def test_more_files_of_weights_than_a_specification_can_name_are_refused() -> None:
    model = own_graphs.resnet()
    for number in range(4097):
        tensor = model.graph.initializer.add(name=f"w{number}", data_type=TensorProto.FLOAT, dims=[1])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=f"w{number}")
    with pytest.raises(InvalidSpec, match="4,097 files"):
        places(model)


def test_the_half_that_reads_takes_no_weights_from_other_files(tmp_path: Path) -> None:
    # Given a two-tower model whose text half wants its weights from where the process happens to be
    two_tower.build(tmp_path)
    spec = read(tmp_path / f"{two_tower.NAME}.toml")
    assert spec.text is not None
    file = outside(onnx.load(tmp_path / spec.text.file), tmp_path, "weights.bin").replace(tmp_path / spec.text.file)
    text = spec.text.model_copy(update={"sha256": hashlib.sha256(file.read_bytes()).hexdigest()})

    # When it is loaded, then it is refused
    with pytest.raises(InvalidSpec, match="has weights in other files"):
        TextEncoder(spec.model_copy(update={"text": text}), tmp_path)
