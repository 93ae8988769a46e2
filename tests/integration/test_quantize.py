"""Models of 8-bit integers: made by ONNX Runtime's tools, compared with what they were made of, whole or not there."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from models import check, quantize, spec_file
from models.commands.quantize import quantize as command
from models.encoder import Encoder
from models.errors import InvalidSpec, ModelError, QuantizeRefused, WeightsMissing
from models.preprocess import Picture
from models.spec import FeatureSpec, InputSpec, ModelSpec, PreprocessSpec, catalogue, find, read
from tests.data import IMAGES, MODELS, needs_shared_data
from tests.graphs import TRUE
from tests.graphs.building import Graph
from tests.pictures import draw, draw_many
from tests.tiny_models import changed

SIDE = 32
#: Six layers of convolutions, of which the first three stay floats.
WIDTHS = (8, 8, 16, 16, 16, 16)
COUNT = 20


class Made(NamedTuple):
    spec: ModelSpec
    #: Where the file and its specification are.
    folder: Path
    pictures: Path

    @property
    def file(self) -> Path:
        return self.folder / self.spec.file


def network(batch: int | str = "n", opset: int = 9, ir_version: int = 3) -> onnx.ModelProto:
    """An old file: its weights are among the inputs, its layers are followed by batch normalisation."""
    made = Graph(opset, ir_version, lists_weights=ir_version < 4)
    last, inputs = "picture", 3
    for number, outputs in enumerate(WIDTHS):
        last = made.conv(f"conv{number}", last, inputs, outputs, 3, stride=2 if number == 2 else 1)
        last = made.add("Relu", f"relu{number}", made.norm(f"norm{number}", last, outputs))
        inputs = outputs
    last = made.add("Flatten", "vector", made.add("GlobalAveragePool", "pool", last))
    made.dense("label", last, inputs, 5)
    return made.model("picture", [batch, 3, SIDE, SIDE], "label")


def make(folder: Path, model: onnx.ModelProto | None = None, feature: str = "vector") -> Made:
    """A model and pictures in `folder`, and its specification in a file."""
    models = folder / "models"
    models.mkdir(parents=True)
    data = (model or network()).SerializeToString()
    (models / "floats.onnx").write_bytes(data)
    pool = "none" if feature == "vector" else "max"
    spec = ModelSpec(
        name="floats",
        title="A network of random weights",
        licence="Apache-2.0",
        source="a test",
        file="floats.onnx",
        sha256=hashlib.sha256(data).hexdigest(),
        input=InputSpec(tensor="picture", height=SIDE, width=SIDE),
        preprocess=PreprocessSpec(resize="exact", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
        feature=FeatureSpec(tensor=feature, pool=pool, dimension=WIDTHS[-1]),
    )
    spec_file.write(spec, models / "floats.toml")
    catalogue.cache_clear()
    draw_many(folder / "pictures", COUNT)
    return Made(spec, models, folder / "pictures")


def chosen(made: Made, count: int = COUNT) -> list[Picture]:
    return quantize.choose(made.pictures, Encoder(made.spec, made.file), count)


def quantized(made: Made, name: str = "integers", *, seven_bits: bool = False) -> tuple[ModelSpec, quantize.Comparison]:
    return quantize.quantize(made.spec, made.file, name, chosen(made), made.folder, seven_bits=seven_bits)


def operators(file: Path) -> list[str]:
    return [node.op_type for node in onnx.load(file).graph.node]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- what is made


def test_the_new_model_is_known_says_what_it_came_from_and_is_alike(tmp_path: Path) -> None:
    # Given a model of floats, when it is quantised
    made = make(tmp_path)
    spec, comparison = quantized(made)

    # Then there is a model of its own beside it
    assert names_in(made.folder) == ["floats.onnx", "floats.toml", "integers.onnx", "integers.toml"]
    assert find("integers", made.folder) == spec
    assert spec.origin == f"quantised from floats (fingerprint {made.spec.fingerprint}) with {COUNT} pictures"
    assert spec.fingerprint != made.spec.fingerprint
    assert (spec.licence, spec.preprocess) == (made.spec.licence, made.spec.preprocess)

    # And it makes nearly the same vectors
    assert comparison.pictures == COUNT
    assert comparison.mean_cosine > 0.99
    assert comparison.mean_cosine >= comparison.smallest_cosine > 0.98
    assert comparison.nearest == 10
    assert comparison.agreement > 0.7
    assert comparison.bytes == (made.file.stat().st_size, (made.folder / "integers.onnx").stat().st_size)
    assert comparison.bytes[1] < comparison.bytes[0]
    assert min(comparison.speeds) > 0

    # And a worker may use it
    check.held(Encoder(spec, made.folder / spec.file))


def test_the_first_layers_stay_floats_and_the_others_have_a_scale_for_each_channel(tmp_path: Path) -> None:
    made = make(tmp_path)
    quantized(made)
    model = onnx.load(made.folder / "integers.onnx").graph
    held = {item.name: item for item in model.initializer}
    readers = [node for node in model.node if node.op_type == "DequantizeLinear" and node.input[0] in held]
    weights = [node for node in readers if len(held[node.input[0]].dims) == 4]
    assert [list(held[node.input[1]].dims) for node in weights] == [[16]] * (len(WIDTHS) - quantize.KEPT)
    assert operators(made.folder / "integers.onnx").count("Conv") == len(WIDTHS)
    assert "BatchNormalization" not in operators(made.folder / "integers.onnx")
    assert [item.name for item in model.input] == ["picture"]


def test_the_same_pictures_give_the_same_model(tmp_path: Path) -> None:
    one, two = make(tmp_path / "one"), make(tmp_path / "two")
    assert quantized(one)[0].sha256 == quantized(two)[0].sha256


def test_weights_of_seven_bits_have_seven_bits(tmp_path: Path) -> None:
    made = make(tmp_path)
    for name, bits in (("eight", False), ("seven", True)):
        quantized(made, name, seven_bits=bits)
    largest = {name: max(_weights(made.folder / f"{name}.onnx")) for name in ("eight", "seven")}
    assert largest == {"eight": 127, "seven": 64}


def _weights(file: Path) -> list[int]:
    """The largest number of each tensor of signed integers."""
    held = [item for item in onnx.load(file).graph.initializer if item.data_type == onnx.TensorProto.INT8]
    return [int(np.abs(onnx.numpy_helper.to_array(item).astype(np.int64)).max()) for item in held if item.dims]


@pytest.mark.parametrize(
    ("model", "feature"),
    [
        (network(batch=3), "vector"),
        (network(opset=17, ir_version=8), "vector"),
        (network(), "relu5"),
        (network(), "last Relu"),
    ],
    ids=["fixed batch", "new file", "map", "feature without a name"],
)
def test_other_shapes_of_models_go_through(tmp_path: Path, model: onnx.ModelProto, feature: str) -> None:
    spec, comparison = quantized(make(tmp_path, model, feature))
    assert comparison.smallest_cosine > 0.97
    assert spec.feature.dimension == WIDTHS[-1]


@pytest.mark.parametrize("name", ["squeezenet1.1", "resnet18-v2"])
def test_files_like_those_of_the_model_zoo_go_through(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a file of the true architecture, in the version of its time
    data = TRUE[name]().SerializeToString()
    spec = find(name).model_copy(update={"sha256": hashlib.sha256(data).hexdigest(), "check": None})
    (tmp_path / spec.file).write_bytes(data)
    draw_many(tmp_path / "pictures", quantize.LEAST)

    # When it is quantised, then it is a quarter of the size and much the same
    encoder = Encoder(spec, tmp_path / spec.file)
    pictures = quantize.choose(tmp_path / "pictures", encoder, quantize.LEAST)
    new, comparison = quantize.quantize(spec, tmp_path / spec.file, "integers", pictures, tmp_path)
    assert comparison.smallest_cosine > 0.99
    assert comparison.bytes[1] < 0.3 * comparison.bytes[0]
    assert new.download is None
    assert caplog.messages == []


@needs_shared_data
@pytest.mark.parametrize(
    ("name", "mean"), [("mobilenetv2", 0.99), ("squeezenet1.1", 0.995)], ids=["mobilenetv2", "squeezenet1.1"]
)
def test_a_real_model_finds_the_same_pictures(tmp_path: Path, name: str, mean: float) -> None:
    # Given real weights and pictures that take no part in the calibration
    spec = read(Path(__file__).parents[1] / "specs" / f"{name}-assembled.toml")
    (file,) = MODELS.glob(f"*/{spec.file}")
    encoder = Encoder(spec, file)
    calibrated = quantize.choose(IMAGES / "caltech101", encoder, 64)
    others = quantize.choose(IMAGES / "grocery", encoder, 64)

    # When the model is quantised
    new, comparison = quantize.quantize(spec, file, "integers", calibrated, tmp_path)

    # Then both models agree on what is near, also among those others
    assert comparison.mean_cosine > mean
    assert comparison.agreement > 0.85
    unseen = quantize.compare(encoder, Encoder(new, tmp_path / new.file), others, (1, 1))
    assert unseen.mean_cosine > mean
    assert unseen.agreement > 0.85


# --- what is refused


def test_a_taken_name_is_refused_and_left_alone(tmp_path: Path) -> None:
    made = make(tmp_path)
    (made.folder / "mine.onnx").write_bytes(b"mine")
    for name in ("floats", "colour", "mine"):
        with pytest.raises(ModelError, match=f"There is a model {name} already"):
            quantized(made, name)
    with pytest.raises(ModelError, match="is no name"):
        quantized(made, "Not A Name")
    assert (made.folder / "mine.onnx").read_bytes() == b"mine"


def test_models_that_cannot_be_quantised_are_refused_with_the_reason(tmp_path: Path) -> None:
    made = make(tmp_path)
    new, _ = quantized(made)
    with pytest.raises(QuantizeRefused, match="integers is a model of 8-bit integers already"):
        quantize.quantize(new, made.folder / new.file, "more", chosen(made), made.folder)
    with pytest.raises(QuantizeRefused, match="no learned weights"):
        quantize.refuse(find("colour"), "more", made.folder)
    with pytest.raises(QuantizeRefused, match="takes float16"):
        quantize.refuse(changed(made.spec, "input", dtype="float16"), "more", made.folder)
    assert "more.onnx" not in names_in(made.folder)


def test_too_few_pictures_are_refused_and_files_that_are_none_do_not_count(tmp_path: Path) -> None:
    made = make(tmp_path)
    assert len(chosen(made)) == COUNT
    for file in sorted(made.pictures.iterdir())[quantize.LEAST - 1 :]:
        file.write_bytes(b"no picture")
    with pytest.raises(QuantizeRefused, match=f"are {quantize.LEAST - 1} pictures; {quantize.LEAST} are needed"):
        chosen(made)
    with pytest.raises(QuantizeRefused, match="There are 0 pictures"):
        quantize.quantize(made.spec, made.file, "integers", [], made.folder)


def test_pictures_are_taken_from_all_over_and_are_the_same_every_time(tmp_path: Path) -> None:
    made = make(tmp_path)
    for number in range(COUNT):
        draw(made.pictures / "below" / f"{number}.png", number, size=64)
    one, two = (chosen(made, quantize.LEAST) for _ in range(2))
    np.testing.assert_array_equal([picture.array for picture in one], [picture.array for picture in two])
    assert {picture.width for picture in one} == {96, 64}
    assert len(one) == quantize.LEAST


def test_whatever_breaks_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(tmp_path)
    pictures = chosen(made)
    before = names_in(made.folder)

    # Given tools that break after they wrote, when a model is quantised, then there is a sentence and no file
    def breaks(_fused: Path, made: Path, *_rest: object, **_more: object) -> None:
        made.write_bytes(b"half")
        raise ValueError("It broke.\nIn detail.")

    with monkeypatch.context() as patch:
        patch.setattr(quantize, "quantize_static", breaks)
        with pytest.raises(QuantizeRefused, match=r"cannot quantise the model \(It broke.\); nothing was written"):
            quantize.quantize(made.spec, made.file, "integers", pictures, made.folder)
    assert names_in(made.folder) == before

    # Given tools that write nonsense
    with monkeypatch.context() as patch:
        patch.setattr(quantize, "quantize_static", lambda _fused, made, *_, **__: made.write_bytes(b"nonsense"))
        with pytest.raises(InvalidSpec):
            quantize.quantize(made.spec, made.file, "integers", pictures, made.folder)
    assert names_in(made.folder) == before


# --- the command


def test_the_command_says_how_the_two_compare(tmp_path: Path) -> None:
    made = make(tmp_path)
    done = run(made, "floats", "--pictures", str(made.pictures), "--count", "16")
    assert done.exit_code == 0, done.output
    assert "floats-int8, compared with floats on these 16 pictures:" in done.stdout
    for part in ("cosine         0.99", "top 10", "images/s", "bytes", "imagefleet index DIR --model floats-int8"):
        assert part in done.stdout
    assert "WARNING" not in done.stderr
    assert names_in(made.folder) == ["floats-int8.onnx", "floats-int8.toml", "floats.onnx", "floats.toml"]


def test_the_command_refuses_before_it_looks_at_pictures(tmp_path: Path) -> None:
    made = make(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(made, "floats").exit_code == 2  # no pictures named
    assert "There is a model floats already" in refusal(made, "floats", "--pictures", str(empty), "--name", "floats")
    assert "nothing to quantise" in refusal(made, "colour", "--pictures", str(empty))
    assert "are 0 pictures; 16 are needed" in refusal(made, "floats", "--pictures", str(empty))
    assert "There is no folder" in run(made, "floats", "--pictures", str(tmp_path / "absent")).output
    made.file.unlink()
    with pytest.raises(WeightsMissing, match=r"needs floats\.onnx"):
        raise _error(run(made, "floats", "--pictures", str(empty)))


def refusal(made: Made, *arguments: str) -> str:
    error = _error(run(made, *arguments))
    assert isinstance(error, ModelError)
    return str(error)


def _error(done: Result) -> BaseException:
    assert done.exception is not None
    return done.exception


def run(made: Made, *arguments: str) -> Result:
    return CliRunner().invoke(command, [*arguments, "--model-dir", str(made.folder)])
