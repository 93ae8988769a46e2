"""Whatever lies in a file or a variable is understood or refused by the one error of its reader."""

from __future__ import annotations

import io
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import huggingface, spec_file
from models.errors import ImageError, InvalidSpec
from models.spec import parse, read
from producer.sources import of_list
from producer.walk import image_at
from tests.property.test_property_messages import JSON, PATHS
from tests.specs import tiny_spec
from workers.blob import pack, unpack
from workers.image_root import ImageRoot
from workers.milvus_rows import original_path, stored_path
from workers.settings import STACK_FILE, Settings, SettingsError, load

TITLES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60)
KEYS = st.sampled_from(sorted(huggingface._Config.model_fields))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (tmp_path_factory.getbasetemp() / "parsers").mkdir(exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=tmp_path_factory.getbasetemp() / "parsers"))
    (made / "there.png").write_bytes(b"x")
    return made


@given(raw=st.binary(max_size=200), document=st.dictionaries(st.text(max_size=9), JSON, max_size=4))
def test_a_specification_is_one_or_refused(folder: Path, raw: bytes, document: dict[str, object]) -> None:
    (folder / "raw.toml").write_bytes(raw)
    with pytest.raises(InvalidSpec):
        read(folder / "raw.toml")
    with pytest.raises(InvalidSpec):
        parse(document, "a test")


def test_a_specification_that_is_too_deep_is_refused(folder: Path) -> None:
    (folder / "deep.toml").write_text("a = " + "[" * 100_000)
    with pytest.raises(InvalidSpec):
        read(folder / "deep.toml")


@given(name=st.sampled_from(sorted(type(tiny_spec()).model_fields)), junk=JSON)
def test_a_field_of_a_specification_is_right_or_refused(name: str, junk: object) -> None:
    try:
        parse({**tiny_spec().model_dump(mode="json", exclude_none=True), name: junk}, "a test")
    except InvalidSpec:
        return


@given(title=TITLES)
def test_a_specification_survives_its_file(folder: Path, title: str) -> None:
    spec_file.write(tiny_spec().model_copy(update={"title": title}), folder / "kept.toml")


@given(raw=st.binary(max_size=100), config=st.dictionaries(KEYS, JSON | st.integers() | st.lists(st.floats())))
def test_a_preprocessing_is_one_or_refused(folder: Path, raw: bytes, config: dict[str, object]) -> None:
    for data in (raw, json.dumps({"size": 224, **config}).encode(), b"[" * 100_000):
        (folder / huggingface.FILE).write_bytes(data)
        try:
            huggingface.read(folder / huggingface.FILE)
        except InvalidSpec:
            continue


@given(raw=st.binary(max_size=300), null=st.booleans())
def test_a_list_of_files_never_breaks_off(folder: Path, raw: bytes, null: bool) -> None:
    assert all(image.path for image in of_list(io.BytesIO(raw), folder, null=null))


@given(value=JSON)
def test_what_the_stack_left_is_settings_or_refused(
    folder: Path, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEFLEET_STATE_DIR", str(folder))
    for document in (value, {"image_root": value}, {"redis_url": value, "models": value}):
        (folder / STACK_FILE).write_text(json.dumps(document))
        try:
            load()
        except SettingsError:
            continue


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
@given(value=st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=30))
def test_a_variable_is_a_setting_or_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEFLEET_STATE_DIR", "/nowhere")
    monkeypatch.setenv(f"IMAGEFLEET_{name.upper()}", value)
    try:
        load()
    except SettingsError:
        return


@given(path=PATHS)
def test_a_path_is_read_or_is_a_failure_of_its_image(folder: Path, path: str) -> None:
    try:
        ImageRoot(folder, max_bytes=10).read(path)
    except ImageError:
        return


@given(path=PATHS)
def test_a_path_survives_the_store_and_brings_no_quote_or_control_character(path: str) -> None:
    assert original_path(stored_path(path)) == path
    assert stored_path(path).isprintable() or not stored_path(path).isascii()


def test_a_file_of_a_far_year_fits_into_a_batch(tmp_path: Path) -> None:
    # Given a file whose time is past what the store's columns hold
    file = tmp_path / "a.png"
    file.write_bytes(b"x")
    os.utime(file, (2**33 * 2, 2**33 * 2))
    # When producer and worker look at it, then both see the same time, and the ledger takes it
    image = image_at(str(file), "a.png")
    assert image.mtime_ns == ImageRoot(tmp_path, max_bytes=10).read("a.png").mtime_ns
    assert unpack(pack([image])) == [image]
