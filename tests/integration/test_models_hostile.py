"""`imagefleet models add` on files that mean harm, or are of no use: one sentence, and nothing is kept."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models import confined
from models.errors import InvalidSpec
from tests import own_graphs
from tests.acceptance.command import START, Command
from tests.adding import is_as_it_was, refused
from tests.own_graphs import outside, saved


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where models are kept; not there yet."""
    return tmp_path / "state" / "models"


@pytest.fixture
def imagefleet(tmp_path: Path, folder: Path) -> Command:
    return Command(tmp_path, {"IMAGEFLEET_STATE_DIR": str(folder.parent)})


def upwards(folder: Path) -> Path:
    file = outside(own_graphs.resnet(), folder, "weights.bin")
    model = onnx.load(file, load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "../../../../etc/passwd"
    return saved(model, folder)


def linked(folder: Path) -> Path:
    file = outside(own_graphs.resnet(), folder, "weights.bin")
    (folder / "weights.bin").unlink()
    (folder / "weights.bin").symlink_to("/etc/passwd")
    return file


def custom(folder: Path) -> Path:
    model = own_graphs.resnet()
    model.graph.node[1].domain = "\x1b[2Jevil\n"
    model.opset_import.append(helper.make_opsetid("\x1b[2Jevil\n", 1))
    return saved(model, folder)


def unknown_operator(folder: Path) -> Path:
    model = own_graphs.resnet()
    model.graph.node[1].op_type = "Explode"
    return saved(model, folder)


def too_much_memory(folder: Path) -> Path:
    model = own_graphs.resnet()
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**20, 2**18], np.int64), "many"))
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["many"], ["ones"]))
    model.graph.node.insert(1, helper.make_node("ReduceMax", ["ones"], ["one"], keepdims=0))
    model.graph.node.insert(2, helper.make_node("Add", ["data", "one"], ["more"]))
    model.graph.node[3].input[0] = "more"
    return saved(model, folder)


def many_nodes(folder: Path) -> Path:
    """A file of 4 MB that is two million nodes."""
    nodes = b"\x0a\x00" * 2_000_000
    (folder / "own.onnx").write_bytes(b"\x08\x08\x42\x02\x10\x0d\x3a" + _varint(len(nodes)) + nodes)
    return folder / "own.onnx"


def _varint(number: int) -> bytes:
    low = bytes([number & 127 | 128 * (number > 127)])
    return low + _varint(number >> 7) if number > 127 else low


def a_pickle(folder: Path) -> Path:
    """Python that would leave a mark if it were run."""
    (folder / "own.onnx").write_bytes(b"cos\nsystem\n(S'touch harmed'\ntR.")
    return folder / "own.onnx"


def always_the_same(folder: Path) -> Path:
    model = own_graphs.resnet()
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "nothing"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "something"))
    model.graph.node.append(helper.make_node("Mul", ["pool", "nothing"], ["dark"]))
    model.graph.node.append(helper.make_node("Add", ["dark", "something"], ["embedding"]))
    model.graph.output[0].name = "embedding"
    return saved(model, folder)


def always_another(folder: Path) -> Path:
    model = own_graphs.resnet()
    model.graph.node.append(helper.make_node("RandomNormalLike", ["pool"], ["noise"]))
    model.graph.node.append(helper.make_node("Add", ["pool", "noise"], ["embedding"]))
    model.graph.output[0].name = "embedding"
    return saved(model, folder)


def one_at_a_time(folder: Path) -> Path:
    model = own_graphs.resnet()
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 8], np.int64), "one_row"))
    model.graph.node.append(helper.make_node("Reshape", ["pool", "one_row"], ["embedding"]))
    model.graph.output[0].name = "embedding"
    return saved(model, folder)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (upwards, "not below its own folder"),
        (linked, "leads out of its folder"),
        (custom, r"operator \x1b[2Jevil\n:Relu, which is not part of ONNX"),
        (unknown_operator, "ONNX Runtime refuses the model"),
        (too_much_memory, "ailed to allocate memory"),
        (many_nodes, "more than 100,000 nodes"),
        (a_pickle, "no ONNX model"),
        (always_the_same, "same vector of different pictures"),
        (always_another, "another vector of the same picture each time"),
        (one_at_a_time, "but not 3 at once"),
    ],
)
def test_a_file_that_means_harm_or_is_no_use_ends_in_a_sentence(
    imagefleet: Command, tmp_path: Path, folder: Path, make: Callable[[Path], Path], reason: str
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    assert reason in refused(imagefleet, make(files), "--yes")
    assert is_as_it_was(folder)
    assert not (tmp_path / "harmed").exists()


def test_custom_operators_are_left_to_onnx_runtime_where_that_is_wanted(
    imagefleet: Command, tmp_path: Path, folder: Path
) -> None:
    sentence = refused(imagefleet, custom(tmp_path), "--yes", "--allow-custom-ops")
    assert "ONNX Runtime refuses the model" in sentence
    assert is_as_it_was(folder)


@pytest.mark.parametrize("what", ["nothing", "folder", "fifo"])
def test_what_is_no_file_is_refused(imagefleet: Command, tmp_path: Path, what: str) -> None:
    file = tmp_path / "own.onnx"
    if what == "folder":
        file.mkdir()
    elif what == "fifo":
        os.mkfifo(file)
    assert "own.onnx" in refused(imagefleet, file, "--yes")


def test_a_package_called_models_where_the_user_is_is_not_run(imagefleet: Command, tmp_path: Path) -> None:
    # Given a folder with a Python package of our name, which would leave a mark
    file = saved(own_graphs.resnet(), tmp_path / "models")
    (tmp_path / "models" / "__init__.py").write_text("open('harmed', 'w')")

    # When the command runs there, then its child processes take their own
    found = confined.call("models.inspection:places_json", {"file": str(file), "custom_operators": False}, size=0)
    done = subprocess.run(
        [START[0], "-P", *START[1:], "models", "add", str(file), "--yes"],
        cwd=tmp_path, env=imagefleet.environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (found, done.returncode, done.stderr) == ([], 0, "")
    assert not (tmp_path / "harmed").exists()


def test_a_graph_that_never_ends_is_ended(tmp_path: Path) -> None:
    # Given a loop of 2 ** 60 rounds, which the shape of the vector depends on
    model = own_graphs.resnet()
    rows = [("round", TensorProto.INT64, []), ("go_on", TensorProto.BOOL, []), ("x", TensorProto.FLOAT, None)]
    inputs = [helper.make_tensor_value_info(*row) for row in rows]
    outputs = [helper.make_tensor_value_info("same", TensorProto.BOOL, [])]
    outputs.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
    nodes = [helper.make_node("Identity", ["go_on"], ["same"]), helper.make_node("Neg", ["x"], ["y"])]
    body = helper.make_graph(nodes, "body", inputs, outputs)
    model.graph.initializer.append(numpy_helper.from_array(np.array(2**60), "rounds"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("Loop", ["rounds", "yes", "pool"], ["embedding"], body=body))
    model.graph.output[0].name = "embedding"
    argument = {"file": str(saved(model, tmp_path)), "wishes": {}}

    # When it is looked into, then not for longer than is allowed
    begin = time.monotonic()
    with pytest.raises(InvalidSpec, match="not done within 4 seconds"):
        confined.call("models.inspection:look_json", argument, size=0, seconds=4)
    assert time.monotonic() - begin < 30


def test_a_parser_that_crashes_is_a_sentence() -> None:
    with pytest.raises(InvalidSpec, match=r"ended the program that looked into it \(SIGSEGV\)"):
        confined.call("ctypes:string_at", 1, size=0)
    with pytest.raises(InvalidSpec, match="could not be looked into"):
        confined.call("json:nothing", 1, size=0)
