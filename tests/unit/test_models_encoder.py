"""The session: what it is given, what it refuses, and that the provider asked for is the one that runs."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from models import graph
from models.encoder import CPU, Encoder
from models.errors import InferenceFailed, InvalidSpec, NoVector, ProviderUnavailable, WeightsMismatch, WeightsMissing
from models.preprocess import Picture
from tests.tiny_models import SIDE, changed, tiny


def of(values: np.ndarray) -> Picture:
    return Picture(values.astype(np.float32), 1, 1)


def ramp() -> np.ndarray:
    """[3, 4, 4]; the channels have the maxima 15, 31, 47 and the means 7.5, 23.5, 39.5."""
    return np.arange(3 * SIDE * SIDE, dtype=np.float32).reshape(3, SIDE, SIDE)


@pytest.mark.parametrize(
    ("pool", "expected"), [("max", [15, 31, 47]), ("mean", [7.5, 23.5, 39.5]), ("none", list(range(48)))]
)
def test_an_inner_map_is_pooled_as_the_specification_says(tmp_path: Path, pool: str, expected: list[float]) -> None:
    model = tiny(tmp_path, pool=pool, dimension=len(expected))  # type: ignore[arg-type]
    (vector,) = Encoder(*model).encode([of(ramp())])
    assert np.allclose(vector, np.array(expected) / np.linalg.norm(expected), atol=1e-6)


def test_a_map_of_one_cell_needs_no_pooling(tmp_path: Path) -> None:
    # Given [n, 3, 1, 1], which is [n, 3] with two idle axes
    model = tiny(tmp_path, pool="mean")
    cut = onnx.load(model.file)
    cut.graph.node[0].CopyFrom(onnx.helper.make_node("GlobalMaxPool", ["picture"], ["map"]))
    model.file.write_bytes(cut.SerializeToString())
    spec = changed(model.spec, "feature", pool="none").model_copy(update={"sha256": sha256(model.file)})

    # When it is encoded, then the idle axes are gone
    (vector,) = Encoder(spec, model.file).encode([of(ramp())])
    assert isinstance(vector, np.ndarray)
    assert vector.shape == (3,)


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_picture_without_a_direction_fails_alone(tmp_path: Path, value: float) -> None:
    bad = np.full((3, SIDE, SIDE), value)
    first, second = Encoder(*tiny(tmp_path)).encode([of(bad), of(ramp())])
    assert isinstance(first, NoVector)
    assert np.linalg.norm(second) == pytest.approx(1)  # type: ignore[arg-type]


def test_a_fixed_batch_axis_is_known_and_a_free_one_too(tmp_path: Path) -> None:
    assert Encoder(*tiny(tmp_path, batch=3)).fixed_batch == 3
    assert Encoder(*tiny(tmp_path, batch="n")).fixed_batch is None


def test_only_what_leads_to_the_feature_is_kept(tmp_path: Path) -> None:
    cut = onnx.load_model_from_string(graph.cut_at(tiny(tmp_path).file.read_bytes(), "map"))
    assert [node.op_type for node in cut.graph.node] == ["Identity"]
    assert [output.name for output in cut.graph.output] == ["map"]


@pytest.mark.parametrize(
    ("part", "values", "key"),
    [
        ("feature", {"tensor": "nowhere"}, "feature.tensor"),
        ("feature", {"dimension": 4}, "feature.dimension"),
        ("input", {"tensor": "elsewhere"}, "input.tensor"),
        ("input", {"dtype": "float16"}, "input.dtype"),
        ("input", {"height": 5}, "height"),
        ("input", {"layout": "NHWC"}, "input.layout"),
    ],
)
def test_a_specification_that_does_not_fit_is_refused_by_the_key(
    tmp_path: Path, part: str, values: dict[str, object], key: str
) -> None:
    spec, file = tiny(tmp_path)
    with pytest.raises(InvalidSpec, match=key):
        Encoder(changed(spec, part, **values), file)


def test_another_file_than_the_specified_one_is_refused(tmp_path: Path) -> None:
    spec, file = tiny(tmp_path)
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(WeightsMismatch, match=spec.sha256):
        Encoder(spec, file)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    spec, file = tiny(tmp_path)
    with pytest.raises(WeightsMissing, match="cannot be read"):
        Encoder(spec, file.with_name("gone.onnx"))


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    spec, file = tiny(tmp_path)
    file.write_bytes(b"\xff" * 100)
    with pytest.raises(InvalidSpec, match="no ONNX model"):
        Encoder(spec.model_copy(update={"sha256": sha256(file)}), file)


def test_a_provider_that_is_not_there_stops_the_encoder(tmp_path: Path) -> None:
    with pytest.raises(ProviderUnavailable, match="TensorrtExecutionProvider cannot be used here: this ONNX Runtime"):
        Encoder(*tiny(tmp_path), providers=("TensorrtExecutionProvider", CPU))


def test_a_provider_that_is_not_there_may_be_replaced_by_the_cpu_where_that_is_allowed(tmp_path: Path) -> None:
    encoder = Encoder(*tiny(tmp_path), providers=("TensorrtExecutionProvider",), cpu_fallback=True)
    assert encoder.provider == CPU


def test_a_session_that_fails_is_no_pictures_fault(tmp_path: Path) -> None:
    encoder = Encoder(*tiny(tmp_path))
    with pytest.raises(InferenceFailed, match="tiny failed"):
        encoder.encode([of(np.zeros((3, 9, 9)))])


def test_prepare_gives_what_encode_takes(tmp_path: Path) -> None:
    encoder = Encoder(*tiny(tmp_path))
    out = io.BytesIO()
    Image.new("RGB", (40, 20), (255, 0, 0)).save(out, "PNG")
    picture = encoder.prepare(out.getvalue())
    assert (picture.width, picture.height) == (40, 20)
    assert np.allclose(encoder.encode([picture])[0], [1, 0, 0])  # type: ignore[arg-type]


def test_loading_the_encoder_says_nothing_and_sends_nothing() -> None:
    # Given a fresh process, since the runtime reads the variable only when it is loaded
    program = "import os, models.encoder; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    variables = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    root = Path(__file__).parents[2]

    # When the encoder is loaded there
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, env=variables)

    # Then usage data is off and nothing is printed
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
