"""A model of torchvision with random weights, exported; and files of weights that are something else."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from models import weights
from models.commands.export import export
from models.encoder import Encoder
from models.export import BOUND, ExportRefused
from models.spec import find
from tests.pictures import draw_many

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed; `make test-export` has it"),
    # Those of the libraries and of their neighbours are not ours.
    pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning", "default::UserWarning"),
]


@pytest.fixture(scope="module")
def resnet18() -> Any:
    import torch
    from torchvision.models import resnet18 as build

    torch.manual_seed(4)
    return build(weights=None, num_classes=7).eval()


@pytest.fixture
def file(resnet18: Any, tmp_path: Path) -> Path:
    import torch

    torch.save(resnet18.state_dict(), tmp_path / "Own weights.pt")
    return tmp_path / "Own weights.pt"


def run(file: Path, models: Path, architecture: str = "resnet18", *more: str) -> Any:
    words = [f"torch:{file}", "--architecture", architecture, "--model-dir", str(models), *more]
    return CliRunner().invoke(export, words)


def test_a_vector_is_what_the_model_gives_before_its_classifier(resnet18: Any, file: Path, tmp_path: Path) -> None:
    # Given
    result = run(file, tmp_path / "models")
    assert result.exit_code == 0, result.output
    assert "torch and ONNX agree: max difference" in result.output
    spec = find("torch-resnet18-own-weights", tmp_path / "models")
    assert spec.feature.dimension == 512
    encoder = Encoder(spec, weights.locate(spec, tmp_path / "models"))
    pictures = [encoder.prepare(each.read_bytes()) for each in draw_many(tmp_path / "pictures", 4)]

    # When
    vectors = encoder.encode(pictures)

    # Then
    import torch
    from torchvision.models.feature_extraction import create_feature_extractor

    inner = create_feature_extractor(resnet18, {"flatten": "features"})
    with torch.no_grad():
        found = inner(torch.from_numpy(np.stack([picture.array for picture in pictures])))["features"].double().numpy()
    for vector, row in zip(vectors, found, strict=True):
        expected = row / np.linalg.norm(row)
        assert isinstance(vector, np.ndarray)
        assert np.abs(vector - expected).max() <= BOUND
        assert float(vector @ expected) > 0.9999


def test_pixels_are_prepared_as_torchvision_prepares_them(file: Path, tmp_path: Path) -> None:
    # Given
    import io

    from PIL import Image
    from torchvision.transforms import Compose, InterpolationMode, transforms

    run(file, tmp_path / "models", "resnet18", "--name", "own")
    spec = find("own", tmp_path / "models")
    prepare = Encoder(spec, weights.locate(spec, tmp_path / "models")).prepare
    steps = [
        transforms.Resize(256, InterpolationMode.BILINEAR),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
    for each in draw_many(tmp_path / "pictures", 3):
        with Image.open(each) as image:
            # The longer side becomes 284.9, and an even number of rows is cut off.
            picture = image.resize((301, 335)).convert("RGB")
        data = io.BytesIO()
        picture.save(data, "PNG")

        # When
        prepared = prepare(data.getvalue()).array

        # Then
        np.testing.assert_allclose(prepared, Compose(steps)(picture).numpy(), atol=1e-5)


def test_a_checkpoint_of_a_training_on_several_devices_is_read(resnet18: Any, tmp_path: Path) -> None:
    import torch

    inner = {f"module.{key}": value for key, value in resnet18.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": inner}, tmp_path / "checkpoint.pth")
    assert run(tmp_path / "checkpoint.pth", tmp_path / "models").exit_code == 0


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.mark,)


def whole_model(model: Any, file: Path) -> None:
    import torch

    torch.save(model, file)


def pickle_that_runs_code(model: Any, file: Path) -> None:
    import torch

    torch.save({"weight": Evil(file.with_name("ran"))}, file)


def plain_pickle_that_runs_code(model: Any, file: Path) -> None:
    import pickle

    file.write_bytes(pickle.dumps(Evil(file.with_name("ran"))))


def torchscript(model: Any, file: Path) -> None:
    import torch

    torch.jit.trace(model, torch.zeros(1, 3, 224, 224)).save(file)


def exported_program(model: Any, file: Path) -> None:
    import torch

    torch.export.save(torch.export.export(model, (torch.zeros(1, 3, 224, 224),)), file.with_suffix(".pt2"))
    file.with_suffix(".pt2").rename(file)


def other_numbers(model: Any, file: Path) -> None:
    import torch

    torch.save({"epoch": 3}, file)


def no_weights(model: Any, file: Path) -> None:
    import torch

    torch.save({}, file)


def garbage(model: Any, file: Path) -> None:
    file.write_bytes(b"PK\x05\x06" + b"\0" * 18)


@pytest.mark.parametrize("name", ["weights.pt", "weights.pt2"])
@pytest.mark.parametrize(
    "save",
    [
        whole_model, pickle_that_runs_code, plain_pickle_that_runs_code, torchscript, exported_program, other_numbers,
        no_weights, garbage,
    ],
)  # fmt: skip
def test_what_is_no_state_dict_is_refused_and_nothing_of_it_is_run(
    save: Any, name: str, resnet18: Any, tmp_path: Path
) -> None:
    # Given
    save(resnet18, tmp_path / name)

    # When
    result = run(tmp_path / name, tmp_path / "models")

    # Then
    assert isinstance(result.exception, ExportRefused)
    assert "is no state dict" in str(result.exception)
    assert {each.name for each in tmp_path.iterdir()} == {name}


def test_such_a_pickle_would_run_its_code(resnet18: Any, tmp_path: Path) -> None:
    import torch

    pickle_that_runs_code(resnet18, tmp_path / "weights.pt")
    torch.load(tmp_path / "weights.pt", weights_only=False)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("architecture", "says"),
    [
        ("resnet34", "does not fit resnet34"),
        ("resnt18", "There is no architecture 'resnt18' to export; torchvision has resnet18"),
        ("squeezenet1_0", "There is no architecture 'squeezenet1_0' to export"),
    ],
)
def test_a_wrong_architecture_is_refused(architecture: str, says: str, file: Path, tmp_path: Path) -> None:
    result = run(file, tmp_path / "models", architecture)
    assert isinstance(result.exception, ExportRefused)
    assert says in str(result.exception)
    assert not (tmp_path / "models").exists()


def test_a_file_that_is_not_there_is_named(resnet18: Any, tmp_path: Path) -> None:
    result = run(tmp_path / "absent.pt", tmp_path / "models")
    assert isinstance(result.exception, ExportRefused)
    assert "There is no file" in str(result.exception)


def test_a_size_that_the_architecture_cannot_take_is_refused(tmp_path: Path) -> None:
    # Given
    import torch
    from torchvision.models import vit_b_32

    torch.save(vit_b_32(weights=None).state_dict(), tmp_path / "weights.pt")

    # When
    result = run(tmp_path / "weights.pt", tmp_path / "models", "vit_b_32", "--size", "160")

    # Then
    assert isinstance(result.exception, ExportRefused)
    assert "--size" in str(result.exception)
