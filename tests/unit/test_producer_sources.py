"""Lists of paths, batches, paths that people type, and names made fit to be read."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.errors import OutsideImageRoot
from producer.places import of_folder, of_indexed
from producer.shown import amounts, counted, shown
from producer.sources import batches, of_list
from workers.contract import Image


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image root with the working folder inside it."""
    root = tmp_path.resolve() / "root"
    (root / "here").mkdir(parents=True)
    monkeypatch.chdir(root / "here")
    return root


def listed(text: bytes, root: Path, null: bool = False) -> list[Image]:
    return list(of_list(io.BytesIO(text), root, null=null))


def test_a_list_is_relative_to_the_working_folder_and_ignores_suffixes(root: Path) -> None:
    (root / "here" / "a b.dat").write_bytes(b"123")

    found = listed(b"a b.dat\n\n../x.jpg\r\n" + os.fsencode(root) + b"/y.jpg", root)

    assert [image.path for image in found] == ["here/a b.dat", "x.jpg", "y.jpg"]
    assert found[0].size == 3
    assert found[1] == Image("x.jpg", 0, 0)


def test_spaces_around_a_name_belong_to_it(root: Path) -> None:
    assert [image.path for image in listed(b" a.jpg \r\n", root)] == ["here/ a.jpg "]


def test_a_list_separated_by_nul_takes_names_with_line_breaks(root: Path) -> None:
    (root / "here" / "two\nlines.jpg").write_bytes(b"1")

    found = listed(b"two\nlines.jpg\0\xff.jpg\0", root, null=True)

    assert [image.path for image in found] == ["here/two\nlines.jpg", "here/\udcff.jpg"]
    assert found[0].size == 1


def test_a_long_list_separated_by_nul_is_cut_at_the_right_places(root: Path) -> None:
    names = [f"{number:09}.jpg" for number in range(20_000)]

    found = listed("\0".join(names).encode(), root, null=True)

    assert [image.path for image in found] == [f"here/{name}" for name in names]


def test_entries_outside_the_root_are_passed_on_in_a_form_that_workers_refuse(root: Path) -> None:
    (image,) = listed(b"../../elsewhere.jpg\n", root)

    assert image.path == "../elsewhere.jpg"


def test_entries_are_read_as_they_are_used(root: Path) -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb", buffering=0) as stream, os.fdopen(write, "wb", buffering=0) as pen:
        images = iter(of_list(stream, root))
        pen.write(b"first.jpg\n")

        assert next(images).path == "here/first.jpg"


@given(count=st.integers(0, 2000), largest=st.integers(1, 200))
def test_batches_keep_every_image_in_order_and_never_exceed_the_largest(count: int, largest: int) -> None:
    images = [Image(str(number), number, number) for number in range(count)]

    cut = list(batches(images, largest))

    assert [image for batch in cut for image in batch] == images
    assert all(1 <= len(batch) <= largest for batch in cut)


def test_batches_begin_small_and_grow_to_the_largest() -> None:
    images = [Image(str(number), 1, 1) for number in range(5000)]

    sizes = [len(batch) for batch in batches(images, 128)]

    assert sizes[:8] == [16] * 8
    assert sizes == [*sorted(sizes[:-1]), sizes[-1]]
    assert max(sizes) == 128


def test_an_indexed_image_is_named_as_the_shell_has_it_or_as_hits_print_it(root: Path) -> None:
    (root / "here" / "a.jpg").touch()
    (root / "b.jpg").touch()

    assert of_indexed("a.jpg", root) == "here/a.jpg"
    assert of_indexed("here/a.jpg", root) == "here/a.jpg"
    assert of_indexed(root / "b.jpg", root) == "b.jpg"
    assert of_indexed("gone.jpg", root) == "here/gone.jpg"
    assert of_indexed("gone/far.jpg", root) == "gone/far.jpg"
    with pytest.raises(OutsideImageRoot):
        of_indexed("/etc/passwd", root)


def test_a_folder_may_be_gone_and_must_lie_below_the_root(root: Path) -> None:
    assert of_folder("gone", root) == "here/gone"
    assert of_folder(root, root) == ""
    with pytest.raises(OutsideImageRoot):
        of_folder("../..", root)


@given(st.text(alphabet=st.characters(codec=None)))
def test_shown_text_can_be_printed_anywhere_and_moves_no_cursor(text: str) -> None:
    printed = shown(text)

    assert printed.isprintable()
    printed.encode("utf-8")


def test_shown_text_keeps_what_people_write() -> None:
    assert shown("Grüße 😀 2.jpg") == "Grüße 😀 2.jpg"
    assert shown("\x1b[31mred\n") == "\\x1b[31mred\\n"
    assert shown("\udcff\ud800") == "\\xff\\ud800"
    assert shown("gpj.\u202egnp") == "gpj.\\u202egnp"


def test_amounts_and_counts_read_like_sentences() -> None:
    assert amounts({".txt": 2, "hidden": 1200, ".md": 2}) == "1,200 hidden, 2 .md, 2 .txt"
    assert [counted(1, "image"), counted(2, "query", "queries")] == ["1 image", "2 queries"]
