"""Where the files of a model come from, and what is held of them, without any server."""

from __future__ import annotations

from pathlib import Path

import pytest

from models import pins
from models.connection import ask
from models.download import HOME, files, pull
from models.errors import DownloadFailed, InvalidSpec
from models.spec import find
from tests.tiny_models import tiny


class Deaf:
    """A watch that does not listen."""

    def begin(self, file: str, done: int, total: int | None) -> None: ...

    def advance(self, count: int) -> None: ...

    def say(self, sentence: str) -> None: ...


def test_a_model_that_reads_has_three_files() -> None:
    vision, text, tokenizer = files(find("clip-vit-b32"))
    assert vision.url.startswith("Qdrant/clip-ViT-B-32-vision/resolve/")
    assert (text.bytes, tokenizer.bytes) == (254_102_519, None)
    assert {each.sha256 for each in (vision, text, tokenizer)} == {pins.FIRST_USE}


def test_a_model_without_an_address_says_what_to_do(tmp_path: Path) -> None:
    spec, file = tiny(tmp_path)
    file.unlink()
    with pytest.raises(DownloadFailed, match=rf"names no address of tiny\.onnx; put it into {tmp_path}, or .* --url"):
        pull(spec, tmp_path, Deaf())


def test_a_mirror_must_be_an_address(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"'models\.lan' is no address; set IMAGEFLEET_MODEL_MIRROR"):
        pull(find("vgg16"), tmp_path, Deaf(), mirror="models.lan")


def test_the_home_is_reached_by_https() -> None:
    assert HOME.startswith("https://")


@pytest.mark.parametrize("address", ["http://models.invalid/file", "http://8.8.8.8/file"])
def test_plain_http_is_refused_where_nothing_else_vouches_for_the_file(address: str) -> None:
    with pytest.raises(DownloadFailed, match="plain HTTP"):
        ask(address, {}, trusts_plain=False)


def test_what_is_recorded_stays_recorded(tmp_path: Path) -> None:
    assert pins.read(tmp_path) == {}
    pins.record(tmp_path, "a.onnx", "a" * 64)
    pins.record(tmp_path, "b.onnx", "b" * 64)
    assert pins.read(tmp_path) == {"a.onnx": "a" * 64, "b.onnx": "b" * 64}
    assert [file.name for file in tmp_path.iterdir()] == [pins.PINS]


@pytest.mark.parametrize("document", ["[]", '{"a.onnx": "first-use"}', '{"a.onnx": 1}', "\xff"])
def test_a_record_that_is_none_is_refused(tmp_path: Path, document: str) -> None:
    (tmp_path / pins.PINS).write_text(document, encoding="latin-1")
    with pytest.raises(InvalidSpec, match=r"pins\.json cannot be read"):
        pins.read(tmp_path)
