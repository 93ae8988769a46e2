"""Keras applications with random weights, exported, and run by the encoder as every other model is."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from models import weights
from models.commands.export import export
from models.encoder import Encoder
from models.export import BOUND, ExportRefused
from models.export import export as write
from models.spec import find
from tests.data import IMAGES
from tests.pictures import draw_many

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(find_spec("keras") is None, reason="Keras is not installed; `make test-export` has it"),
    # Those of the libraries and of their neighbours are not ours.
    pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning", "default::UserWarning"),
]


class Exported(NamedTuple):
    #: As Keras made it, not as the export did.
    keras: Any
    application: str
    models: Path
    name: str
    dimension: int
    result: Result

    def encoder(self) -> Encoder:
        spec = find(self.name, self.models)
        return Encoder(spec, weights.locate(spec, self.models))


def made_by_keras(application: str, pooling: str) -> Any:
    from models.export_keras import _keras

    keras = _keras()
    keras.utils.set_random_seed(3)
    build = getattr(keras.applications, application)
    return build(include_top=False, weights=None, pooling=pooling, input_shape=(224, 224, 3))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real pictures, where there are some, and of drawn ones."""
    folder = tmp_path_factory.mktemp("pictures")
    draw_many(folder, 6)
    for number, file in enumerate(sorted(IMAGES.glob("caltech101/*/*.jpg"))[::60]):
        (folder / f"real-{number}.jpg").write_bytes(file.read_bytes())
    return folder


@pytest.fixture(
    scope="module",
    params=[("ResNet50", "max", 2048), ("ResNet50", "mean", 2048), ("VGG16", "max", 512), ("VGG16", "mean", 512)],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def exported(request: pytest.FixtureRequest, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A model with random weights, saved by Keras and exported by the command from that file."""
    application, pool, dimension = request.param
    folder = tmp_path_factory.mktemp("export")
    model = made_by_keras(application, "avg" if pool == "mean" else pool)
    model.save_weights(folder / "own.weights.h5")
    words = [f"keras:{application}", "--pool", pool, "--weights", str(folder / "own.weights.h5"), "--check", pictures]
    words += ["--model-dir", folder / "models", "--name", "own", "--licence", "my own"]
    result = CliRunner().invoke(export, [str(word) for word in words], catch_exceptions=False)
    return Exported(model, application, folder / "models", "own", dimension, result)


def test_the_command_tells_how_well_both_agree(exported: Exported, pictures: Path) -> None:
    assert exported.result.exit_code == 0
    assert "keras and ONNX agree: max difference" in exported.result.output
    assert f"on {len(list(pictures.iterdir()))} pictures" in exported.result.output


def test_the_specification_is_that_of_keras(exported: Exported) -> None:
    spec = find("own", exported.models)
    assert (spec.input.layout, spec.input.height, spec.input.width) == ("NHWC", 224, 224)
    assert spec.preprocess.channels == "BGR"
    assert spec.feature.dimension == exported.dimension
    assert spec.licence == "my own"


def test_the_encoder_takes_any_number_of_pictures(exported: Exported, pictures: Path) -> None:
    # Given
    encoder = exported.encoder()
    prepared = [encoder.prepare(file.read_bytes()) for file in sorted(pictures.iterdir())[:3]]

    # When
    together = encoder.encode(prepared)
    alone = [encoder.encode([picture])[0] for picture in prepared]

    # Then
    assert encoder.fixed_batch is None
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_vector_is_what_keras_predicts(exported: Exported, pictures: Path) -> None:
    encoder = exported.encoder()
    for file in sorted(pictures.iterdir()):
        # When
        picture = encoder.prepare(file.read_bytes())
        (vector,) = encoder.encode([picture])

        # Then
        predicted = exported.keras.predict(picture.array[np.newaxis], verbose=0)[0].astype(np.float64)
        expected = predicted / np.linalg.norm(predicted)
        assert isinstance(vector, np.ndarray)
        assert np.abs(vector - expected).max() <= BOUND
        assert float(vector @ expected) > 0.9999


def test_pixels_are_prepared_as_keras_prepares_them(exported: Exported) -> None:
    # Given: a picture from which the centre is cut without any resizing
    pixels = np.random.default_rng(5).integers(0, 256, (256, 256, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")

    # When
    prepared = exported.encoder().prepare(file.getvalue()).array

    # Then
    import keras

    module = getattr(keras.applications, exported.application.lower())
    expected = module.preprocess_input(pixels[16:240, 16:240].astype(np.float32))
    np.testing.assert_allclose(prepared, expected, atol=1e-4)


def test_an_export_that_computes_something_else_is_refused_and_leaves_nothing(pictures: Path, tmp_path: Path) -> None:
    # Given
    made_by_keras("VGG16", "max")
    from models.export_keras import KerasModel

    class Doctored(KerasModel):
        def features(self, batch: Any) -> Any:
            return super().features(batch) + np.float32(BOUND * 1.5)

    # When
    with pytest.raises(ExportRefused, match="computes something else"):
        write(Doctored("VGG16", "max", "none"), tmp_path, [file.read_bytes() for file in pictures.iterdir()])

    # Then
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_application_are_refused(tmp_path: Path) -> None:
    # Given
    made_by_keras("MobileNet", "max").save_weights(tmp_path / "other.weights.h5")

    # When
    words = ["keras:VGG16", "--weights", str(tmp_path / "other.weights.h5"), "--model-dir", str(tmp_path / "models")]
    result = CliRunner().invoke(export, words)

    # Then
    assert isinstance(result.exception, ExportRefused)
    assert "does not fit VGG16" in str(result.exception)
    assert not (tmp_path / "models").exists()


def test_a_keras_archive_of_code_is_never_loaded(tmp_path: Path) -> None:
    # Given: a model whose layer is a function that leaves a file behind when it is loaded
    made_by_keras("MobileNet", "max")
    import keras

    layers = [keras.Input((224, 224, 3)), keras.layers.Lambda(lambda x: x[:, 0, 0], output_shape=(3,))]
    keras.Sequential(layers).save(tmp_path / "code.keras")

    # When
    words = ["keras:VGG16", "--weights", str(tmp_path / "code.keras"), "--model-dir", str(tmp_path / "models")]
    result = CliRunner().invoke(export, words)

    # Then
    assert isinstance(result.exception, ExportRefused)


def test_imagenet_weights_that_cannot_be_fetched_end_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    made_by_keras("MobileNet", "max")
    monkeypatch.setattr("socket.getaddrinfo", _no_network)
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path / "empty"), raising=False)

    # When
    result = CliRunner().invoke(export, ["keras:VGG16", "--model-dir", str(tmp_path / "models")])

    # Then
    assert "Keras could not fetch the weights of VGG16" in str(result.exception)
    assert "--weights FILE" in str(result.exception)


def _no_network(*_: object, **__: object) -> None:
    raise OSError("there is no network in this test")
