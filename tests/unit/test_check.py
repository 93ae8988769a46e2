"""The self-test: what it finds, what it says, and what `models check` makes of it."""

from __future__ import annotations

import base64
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from models import check, encoder, golden, spec_file
from models.commands.check import check as command
from models.encoder import CPU, Encoder
from models.errors import CheckFailed, ModelError, ProviderUnavailable
from models.spec import CATALOG, ModelSpec, catalogue, find, read
from models.weights import locate
from tests.data import MODELS, needs_shared_data
from tests.tiny_models import Tiny, changed, tiny
from workers.held import HeldModels
from workers.settings import Settings

#: Begins what each picture is drawn as: a change of it breaks every specification there is.
DRAWN = ("fe4518a31ec5", "4a4f366a956f", "d980740da181")
BUILTIN = ("colour", "gradient")


def test_the_golden_pictures_never_change() -> None:
    drawn = [hashlib.sha256(data).hexdigest() for data in golden.pictures()]
    assert [digest[:12] for digest in drawn] == list(DRAWN)


# --- what it finds


@pytest.mark.parametrize("name", BUILTIN)
def test_a_built_in_model_is_what_its_specification_says_and_is_quick(name: str) -> None:
    (outcome,) = check.outcomes(find(name), locate(find(name)), [])
    assert outcome.to_reference == pytest.approx(1, abs=1e-5)
    assert not outcome.failed
    assert outcome.seconds < 1


@needs_shared_data
def test_a_model_of_the_model_zoo_is_what_its_specification_says() -> None:
    spec = find("mobilenetv2-int8")
    check.held(Encoder(spec, MODELS / "mobilenetv2-12-qdq" / spec.file))


@needs_shared_data
@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": "BGR"},
        {"mean": (0, 0, 0)},
        {"resize": "exact", "resize_to": None},
        {"scale": 1.0},
        {"interpolation": "nearest"},
    ],
)
def test_a_preprocessing_that_is_not_the_models_own_is_found(wrong: dict[str, object]) -> None:
    spec = changed(find("mobilenetv2-int8"), "preprocess", **wrong)
    with pytest.raises(CheckFailed, match=f"mobilenetv2-int8 on {CPU} makes other vectors"):
        check.held(Encoder(spec, MODELS / "mobilenetv2-12-qdq" / spec.file))


def test_a_model_without_reference_vectors_passes(tmp_path: Path) -> None:
    model = Encoder(*tiny(tmp_path))
    assert check.held(model) is model


def test_what_is_no_number_is_no_agreement(tmp_path: Path) -> None:
    # Given reference vectors that are not numbers
    model = tiny(tmp_path)
    nothing = base64.b64encode(np.full(3, np.nan, "<f2").tobytes()).decode()
    doctored = _with(model.spec, check.reference(Encoder(*model)), vectors=(nothing,) * len(golden.SIZES))

    # When the model is held against them, then it fails
    with pytest.raises(CheckFailed, match="cosine nan"):
        check.held(Encoder(doctored, model.file))


# --- the worker


def test_a_worker_refuses_a_model_that_makes_other_vectors(tmp_path: Path) -> None:
    # Given a model whose specification holds the vectors of other pictures
    model = _known(tmp_path)
    right = check.reference(Encoder(*model))
    HeldModels(Settings(model_dir=tmp_path), ["index.tiny"])  # nothing wrong so far
    check.record(tmp_path / "tiny.toml", right.model_copy(update={"vectors": right.vectors[::-1]}))

    # When a worker process starts, then it does not live
    with pytest.raises(CheckFailed, match=r"tiny on CPUExecutionProvider makes other vectors .* needed is 0\.9999"):
        HeldModels(Settings(model_dir=tmp_path), ["index.tiny"])


def test_a_worker_does_not_mind_formats_that_its_settings_leave_out(tmp_path: Path) -> None:
    HeldModels(Settings(model_dir=tmp_path, formats=("JPEG",), max_pixels=10), ["index.colour"])


# --- recording


def test_recording_keeps_all_else_and_recording_again_replaces(tmp_path: Path) -> None:
    # Given a specification that somebody wrote by hand
    model = _known(tmp_path)
    file = tmp_path / "tiny.toml"
    file.write_text("# mine\n" + file.read_text())

    # When vectors are recorded twice
    check.record(file, check.reference(Encoder(*model), 0.5))
    spec = check.record(file, check.reference(Encoder(*model), 0.75))

    # Then the second ones are there, and all else is as it was
    assert read(file) == spec
    assert spec.check is not None
    assert spec.check.bound == 0.75
    assert spec.model_copy(update={"check": None}) == model.spec
    assert file.read_text().startswith("# mine\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.onnx", "tiny.toml"]


def test_a_table_in_other_words_is_replaced_too(tmp_path: Path) -> None:
    model = _known(tmp_path)
    file = tmp_path / "tiny.toml"
    right = check.reference(Encoder(*model))
    file.write_text(f"check.bound = 0.5\ncheck.vectors = ['{right.vectors[0]}']\n" + file.read_text())
    assert read(file).check is not None
    check.record(file, right)
    assert read(file).check == right


def test_a_model_that_finds_nothing_in_a_picture_cannot_be_tested(tmp_path: Path) -> None:
    spec = changed(tiny(tmp_path).spec, "preprocess", scale=0.0)
    with pytest.raises(CheckFailed, match="makes no vector"):
        check.reference(Encoder(spec, tmp_path / spec.file))


# --- other providers


class Elsewhere(Encoder):
    """An encoder that says which provider it was asked for, and on Wrong computes something else."""

    def __init__(self, spec: ModelSpec, file: Path, providers: tuple[str, ...] = (CPU,)) -> None:
        if providers[0] == "Absent":
            raise ProviderUnavailable("Absent cannot be used here.")
        if providers[0] == "Wrong":
            spec = changed(spec, "preprocess", channels="BGR")
        super().__init__(spec, file)
        self.provider = providers[0]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "Encoder", Elsewhere)
    monkeypatch.setattr(encoder, "present_providers", lambda: [CPU, "Right", "Absent", "Wrong"])


@pytest.mark.usefixtures("elsewhere")
def test_every_provider_is_compared_with_the_cpu(tmp_path: Path) -> None:
    cpu, right, absent, wrong = check.outcomes(*tiny(tmp_path), ["Right", "Absent", "Wrong"])
    assert (cpu.to_cpu, cpu.failed) == (None, False)
    assert right.to_cpu == pytest.approx(1)
    assert isinstance(absent.error, ProviderUnavailable)
    assert not absent.failed
    assert wrong.to_cpu is not None
    assert wrong.to_cpu < 0.99
    assert wrong.failed


def test_a_provider_that_breaks_has_failed() -> None:
    assert check.Outcome("Broken", 0, 1, error=ModelError("It broke.")).failed


def test_the_cpu_is_the_first_provider_and_no_service_elsewhere_is_one() -> None:
    present = encoder.present_providers()
    assert present[0] == CPU
    assert "AzureExecutionProvider" not in present


# --- the command


def test_all_models_are_checked_and_those_that_are_not_here_are_named(tmp_path: Path) -> None:
    _known(tmp_path)
    done = _run(tmp_path)
    assert done.exit_code == 0
    assert f"colour: {CPU}: ok, cosine 1.000000 to its reference (needed: 0.9999)" in done.output
    assert "tiny: has no reference vectors; `imagefleet models check tiny --record` writes them." in done.output
    assert "Not on this machine: " in done.output
    assert "mobilenetv2-int8" in done.output


def test_a_recorded_model_is_checked_and_a_doctored_one_fails_the_command(tmp_path: Path) -> None:
    # Given a recorded model
    _known(tmp_path)
    assert _run(tmp_path, "tiny", "--record", "--bound", "0.999").exit_code == 0
    assert f"tiny: {CPU}: ok" in _run(tmp_path, "tiny").output

    # When its vectors are exchanged
    spec = read(tmp_path / "tiny.toml")
    assert spec.check is not None
    assert spec.check.bound == 0.999
    check.record(tmp_path / "tiny.toml", spec.check.model_copy(update={"vectors": spec.check.vectors[::-1]}))

    # Then it fails by name and among all
    for names in ([], ["tiny"]):
        done = _run(tmp_path, *names)
        assert done.exit_code == 1
        assert f"tiny: {CPU}: FAILED, cosine 0." in done.output


@pytest.mark.usefixtures("elsewhere")
def test_another_provider_that_computes_something_else_fails_the_command(tmp_path: Path) -> None:
    _known(tmp_path)
    done = _run(tmp_path, "tiny")
    assert done.exit_code == 1
    assert "tiny: Right: ok, cosine 1.000000 to the CPU" in done.output
    assert "tiny: Absent: not usable: Absent cannot be used here." in done.output
    assert "tiny: Wrong: FAILED, cosine 0." in done.output


def test_one_wrong_file_does_not_hide_the_other_models(tmp_path: Path) -> None:
    _known(tmp_path)
    (tmp_path / "tiny.onnx").write_bytes(b"another file")
    done = _run(tmp_path)
    assert done.exit_code == 1
    assert "tiny: FAILED: " in done.output
    assert f"gradient: {CPU}: ok" in done.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--record"], "name one"),
        (["colour", "--record"], "colour ships with imagefleet"),
        (["colour", "--bound", "0.9"], "add --record"),
        (["colour", "--record", "--bound", "2"], "Invalid value for '--bound'"),
    ],
)
def test_what_cannot_be_recorded_is_refused(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    done = _run(tmp_path, *arguments)
    assert done.exit_code == 2
    assert sentence in done.output


def test_a_named_model_that_is_not_here_is_an_error(tmp_path: Path) -> None:
    done = _run(tmp_path, "mobilenetv2-int8")
    assert isinstance(done.exception, ModelError)
    assert "models pull mobilenetv2-int8" in str(done.exception)


def test_built_in_models_are_recorded_in_the_catalogue(tmp_path: Path) -> None:
    # Given a catalogue whose reference vectors are old
    for file in (CATALOG / f"{name}.toml" for name in BUILTIN):
        shutil.copy(file, tmp_path)

    # When they are recorded, then they are what they were: nothing else has changed
    assert _run(tmp_path, *BUILTIN, "--record").exit_code == 0
    for name in BUILTIN:
        assert read(tmp_path / f"{name}.toml").fingerprint == find(name).fingerprint


def _known(folder: Path) -> Tiny:
    """The tiny model with its specification in a file."""
    model = tiny(folder)
    spec_file.write(model.spec, folder / "tiny.toml")
    catalogue.cache_clear()
    return model


def _with(spec: ModelSpec, reference: object, **values: object) -> ModelSpec:
    made = spec.model_copy(update={"check": reference})
    return changed(made, "check", **values)


def _run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, [*arguments, "--model-dir", str(folder)])
