"""What `models export` says to wrong words, and where its libraries are not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from models.commands.export import export
from models.errors import ModelsError
from models.export import ExportRefused, ExportUnavailable


def refusal(*words: str, models: Path) -> str:
    """The sentence that the command ends with."""
    try:
        export.main([*words, "--model-dir", str(models)], standalone_mode=False)
    except click.ClickException as error:
        return error.format_message()
    except ModelsError as error:
        return str(error)
    raise AssertionError("the command was not refused")


@pytest.mark.parametrize("library", ["keras", "torch"])
def test_without_the_extra_keras_models_are_refused_by_its_name(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    monkeypatch.setitem(sys.modules, library, None)

    # When / Then
    with pytest.raises(ExportUnavailable, match=r"extra `export`.*environment\.sh export"):
        export.main(["keras:VGG16", "--weights", "none", "--model-dir", str(tmp_path / "m")], standalone_mode=False)


@pytest.mark.parametrize("library", ["torch", "torchvision"])
def test_without_the_extra_torch_models_are_refused_by_its_name(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, library, None)
    (tmp_path / "weights.pt").write_bytes(b"weights")

    # When / Then
    words = [f"torch:{tmp_path / 'weights.pt'}", "--architecture", "resnet18", "--model-dir", str(tmp_path / "m")]
    with pytest.raises(ExportUnavailable, match=r"extra `export`.*environment\.sh export"):
        export.main(words, standalone_mode=False)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["onnx:model"], "neither keras:APPLICATION nor torch:FILE"),
        (["keras:"], "neither keras:APPLICATION nor torch:FILE"),
        (["ResNet50"], "neither keras:APPLICATION nor torch:FILE"),
        (["keras:ResNet5"], "near are ResNet50"),
        (["keras:Unheard"], "There is no Keras application 'Unheard'"),
        (["keras:VGG16", "--size", "300"], "--size has no meaning with keras:"),
        (["keras:VGG16", "--architecture", "resnet18"], "--architecture has no meaning with keras:"),
        (["torch:a.pt", "--pool", "max"], "--pool has no meaning with torch:"),
        (["torch:a.pt", "--weights", "none"], "--weights has no meaning with torch:"),
        (["torch:a.pt"], "add --architecture"),
        (["keras:VGG16", "--pool", "min"], "'max', 'mean'"),
        (["keras:VGG16", "--name", "VGG"], "'VGG' is no name"),
        (["keras:VGG16", "--name", "mobilenetv2-int8"], "already"),
        (["keras:VGG16", "--check", "/nowhere/at/all"], "There is no folder /nowhere/at/all"),
    ],
)
def test_wrong_words_end_in_a_sentence_before_anything_heavy_is_loaded(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert says in refusal(*words, models=tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_the_folder_of_models_comes_from_the_group_where_no_option_names_one(tmp_path: Path) -> None:
    export_to = CliRunner().invoke(export, ["keras:Unheard"], obj=tmp_path)
    assert isinstance(export_to.exception, ExportRefused)


def test_without_a_folder_of_models_it_asks_for_one() -> None:
    said = CliRunner().invoke(export, ["keras:VGG16"], env={"IMAGEFLEET_MODEL_DIR": ""})
    assert "--model-dir DIR" in said.output
