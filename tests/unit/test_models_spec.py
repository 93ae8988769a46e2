"""Specifications: what they may say, and what of it changes a vector."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from models.errors import InvalidSpec, UnknownModel
from models.spec import (
    CATALOG,
    CheckSpec,
    FeatureSpec,
    InputSpec,
    ModelSpec,
    PreprocessSpec,
    TextSpec,
    catalogue,
    find,
    parse,
    read,
)

MOBILENET = tomllib.loads((CATALOG / "mobilenetv2-int8.toml").read_text(encoding="utf-8"))
#: Kilobytes of reference vectors, which say nothing to a reader.
CHECK = MOBILENET.pop("check")


def with_values(**tables: Any) -> dict[str, Any]:
    """The document of mobilenetv2-int8 with other values; a dict is merged into its table."""
    changed = {key: {**MOBILENET[key], **value} if isinstance(value, dict) else value for key, value in tables.items()}
    return {**MOBILENET, **changed}


def test_every_specification_that_ships_is_valid_and_named_like_its_file() -> None:
    assert {file.stem for file in CATALOG.glob("*.toml")} == set(catalogue())
    assert {"colour", "gradient", "mobilenetv2-int8"} <= set(catalogue())


@pytest.mark.parametrize(
    ("tables", "key"),
    [
        ({"sha256": "abc"}, "sha256"),
        ({"name": "Not A Name"}, "name"),
        ({"file": "../up.onnx"}, "file"),
        ({"colour": "blue"}, "colour"),
        ({"feature": {"dimension": 0}}, "feature.dimension"),
        ({"preprocess": {"interpolation": "magic"}}, "preprocess.interpolation"),
        ({"preprocess": {"resize_to": 200}}, "preprocess.resize_to"),
        ({"input": {"dtype": "uint8"}}, "uint8"),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(tables: dict[str, Any], key: str) -> None:
    with pytest.raises(InvalidSpec, match=f"mine.toml: .*{key}.*correct the specification"):
        parse(with_values(**tables), "mine.toml")


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xff = [")
    with pytest.raises(InvalidSpec, match="cannot be read as TOML"):
        read(tmp_path / "mine.toml")


@pytest.mark.parametrize(
    "tables",
    [
        {"sha256": "0" * 64},
        {"input": {"layout": "NHWC"}},
        {"preprocess": {"interpolation": "bicubic"}},
        {"preprocess": {"mean": [0.5, 0.5, 0.5]}},
        {"feature": {"pool": "max"}},
    ],
)
def test_whatever_changes_a_vector_changes_the_fingerprint(tables: dict[str, Any]) -> None:
    assert parse(with_values(**tables), "mine").fingerprint != parse(MOBILENET, "zoo").fingerprint


def test_words_about_a_model_do_not_change_the_fingerprint() -> None:
    renamed = with_values(name="mine", title="Mine", licence="MIT", source="here", file="mine.onnx", origin="nowhere")
    assert parse(renamed, "mine").fingerprint == parse(MOBILENET, "zoo").fingerprint


def test_reference_vectors_do_not_change_the_fingerprint() -> None:
    assert parse({**MOBILENET, "check": CHECK}, "mine").fingerprint == parse(MOBILENET, "zoo").fingerprint


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"bound": 0}, "check.bound"),
        ({"bound": 1.01}, "check.bound"),
        ({"vectors": []}, "check.vectors"),
        ({"vectors": ["AAAA"]}, "check.vectors"),
        ({"vectors": ["no base64!"]}, "check.vectors.0"),
        ({"vectors": [CHECK["vectors"][0][:-4]]}, "float16"),
    ],
)
def test_wrong_reference_vectors_are_refused_by_their_key(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(InvalidSpec, match=f"mine.toml: .*{key}.*correct the specification"):
        parse({**MOBILENET, "check": {**CHECK, **changes}}, "mine.toml")


def test_own_specifications_add_to_those_that_ship(tmp_path: Path) -> None:
    own = (CATALOG / "mobilenetv2-int8.toml").read_text(encoding="utf-8").replace("mobilenetv2-int8", "mine")
    (tmp_path / "mine.toml").write_text(own, encoding="utf-8")
    assert find("mine", tmp_path).title == find("mobilenetv2-int8", tmp_path).title


def test_an_unknown_model_is_answered_with_those_there_are() -> None:
    with pytest.raises(UnknownModel, match=r"known are .*colour, .*gradient, "):
        find("nothing")


@pytest.mark.parametrize("table", [ModelSpec, InputSpec, PreprocessSpec, FeatureSpec, TextSpec, CheckSpec])
def test_every_key_is_documented(table: type[BaseModel]) -> None:
    document = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    keys = document[document.index("| key | what it says") :]
    assert [key for key in table.model_fields if f"`{key}`" not in keys and f"`[{key}]`" not in keys] == []


def test_the_documented_specification_is_the_one_that_ships() -> None:
    document = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    example = document.split("```toml\n")[1].split("```")[0]
    assert tomllib.loads(example) == MOBILENET
