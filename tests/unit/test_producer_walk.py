"""Walking folders: what is found, in which order, and what is passed over and counted."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from producer import walk as walking
from producer.errors import FolderMissing, FolderUnreadable, NothingFound, OutsideImageRoot
from producer.feeding import nothing_found
from producer.sources import Source, of_folders
from producer.walk import REASONS_MAX, Skipped, reason_not_walked, suffixes_of
from workers.settings import Settings

FORMATS = Settings.model_fields["formats"].default

Walk = Callable[..., Source]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path.resolve()


@pytest.fixture
def walk(root: Path) -> Walk:
    return lambda *places: of_folders(places or (root,), root, FORMATS)


def put(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"picture")


def paths(source: Source) -> list[str]:
    return [image.path for image in source]


def test_images_come_sorted_by_folder_with_their_size_and_time(root: Path, walk: Walk) -> None:
    put(root, "b/2.jpg", "b/1.jpg", "a.png", "a/z.webp", "c.JPG")
    os.utime(root / "a.png", ns=(5, 1_234_567_891))

    found = list(walk())

    assert [image.path for image in found] == ["a.png", "c.JPG", "a/z.webp", "b/1.jpg", "b/2.jpg"]
    assert found[0] == ("a.png", 7, 1_234_567_891)


def test_names_that_are_no_plain_ones_are_sorted_by_their_bytes(root: Path, walk: Walk) -> None:
    names = [b"z.jpg", "\u00e9.jpg".encode(), "\U0001f600.jpg".encode(), b"\xff.jpg"]
    put(root, *map(os.fsdecode, reversed(names)))

    assert [os.fsencode(path) for path in paths(walk())] == names


def test_a_huge_folder_comes_in_parts_and_nothing_of_it_is_missed(
    root: Path, walk: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walking, "PART_MAX", 3)
    put(root, *(f"{number}.jpg" for number in range(10)), "notes.txt", ".hidden", "a/1.jpg", "b/1.jpg")

    source = walk()
    found = paths(source)

    assert sorted(found[:10]) == [f"{number}.jpg" for number in range(10)]
    assert found[10:] == ["a/1.jpg", "b/1.jpg"]
    assert source.skipped.reasons == {".txt": 1, "hidden": 1}


def test_hidden_ones_and_other_suffixes_are_counted_not_found(root: Path, walk: Walk) -> None:
    put(root, ".hidden.jpg", ".git/a.jpg", ".git/b.jpg", "notes.txt", "more.TXT", "README", "a.jpg", "odd.???")

    source = walk()

    assert paths(source) == ["a.jpg"]
    assert source.skipped.reasons == {"hidden": 2, ".txt": 2, "no suffix": 1, "other": 1}


def test_formats_of_the_settings_decide_which_suffixes_count(root: Path) -> None:
    put(root, "a.jpg", "b.png", "c.jpeg")

    assert paths(of_folders([root], root, ["PNG"])) == ["b.png"]


def test_folders_that_are_links_are_not_followed_so_that_loops_end(root: Path, walk: Walk) -> None:
    put(root, "a/1.jpg")
    (root / "a" / "loop").symlink_to(root)
    (root / "loop.jpg").symlink_to(root / "loop.jpg")

    source = walk()

    assert paths(source) == ["loop.jpg", "a/1.jpg"]
    assert source.skipped.reasons == {"linked folder": 1}


def test_files_that_are_links_are_found_under_their_own_name(root: Path, walk: Walk) -> None:
    put(root, "a/1.jpg")
    (root / "link.jpg").symlink_to(root / "a" / "1.jpg")
    (root / "dangling.jpg").symlink_to(root / "nowhere.jpg")

    found = {image.path: image.size for image in walk()}

    assert found == {"dangling.jpg": 0, "link.jpg": 7, "a/1.jpg": 7}


def test_a_folder_named_through_a_link_gives_the_paths_behind_it(root: Path, walk: Walk) -> None:
    put(root, "a/1.jpg")
    (root / "link").symlink_to(root / "a")

    assert paths(walk(root / "link")) == ["a/1.jpg"]


NAMES = [b"\xff\xfe.jpg", "gr\u00fc\u00dfe \U0001f600.jpg".encode(), b"line\nbreak.jpg", b" .jpg", b"-x.jpg"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_found_and_leads_back_to_its_file(root: Path, walk: Walk, name: bytes) -> None:
    put(root, os.fsdecode(name))

    (image,) = walk()

    assert os.fsencode(image.path) == name
    assert (root / image.path).read_bytes() == b"picture"


def test_what_is_no_regular_file_is_passed_over(root: Path, walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "pipe.jpg")
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.jpg")

        source = walk()

        assert paths(source) == []
        assert source.skipped.reasons == {"not a file": 2}


@pytest.mark.parametrize("order", [("", "a", "a/b"), ("a/b", "a", ""), ("a", "", "a")])
def test_folders_inside_each_other_are_walked_once(root: Path, walk: Walk, order: tuple[str, ...]) -> None:
    put(root, "1.jpg", "a/2.jpg", "a/b/3.jpg", "c/4.jpg")

    found = paths(walk(*(root / place for place in order)))

    assert sorted(found) == ["1.jpg", "a/2.jpg", "a/b/3.jpg", "c/4.jpg"]


def test_a_hidden_folder_is_walked_when_it_is_named(root: Path, walk: Walk) -> None:
    put(root, ".cache/1.jpg", "2.jpg")

    assert paths(walk(root, root / ".cache")) == ["2.jpg", ".cache/1.jpg"]


def test_a_file_that_is_named_is_taken_whatever_its_suffix(root: Path, walk: Walk) -> None:
    put(root, "scan.dat")

    assert paths(walk(root / "scan.dat")) == ["scan.dat"]


def test_a_tree_deeper_than_calls_may_nest_is_no_trouble(root: Path, walk: Walk) -> None:
    folders = [root.joinpath(*["d"] * depth) for depth in range(1, 1201)]
    for folder in folders:
        folder.mkdir()
    put(folders[-1], "1.jpg")
    try:
        assert len(paths(walk())) == 1
    finally:  # what cleans up after the tests does nest its calls
        (folders[-1] / "1.jpg").unlink()
        for folder in reversed(folders):
            folder.rmdir()


def test_the_walk_is_lazy(root: Path, walk: Walk) -> None:
    put(root, "a/1.jpg", "b/1.jpg")
    images = iter(walk())

    assert next(images).path == "a/1.jpg"
    put(root, "b/2.jpg")
    assert [image.path for image in images] == ["b/1.jpg", "b/2.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable for root")
def test_an_unreadable_subfolder_is_counted_and_named(root: Path, walk: Walk) -> None:
    put(root, "locked/1.jpg", "open/2.jpg")
    (root / "locked").chmod(0)
    try:
        source = walk()
        assert paths(source) == ["open/2.jpg"]
    finally:
        (root / "locked").chmod(0o755)
    assert source.skipped.reasons == {"unreadable folder": 1}
    assert source.skipped.unreadable == [f"{root / 'locked'} (Permission denied)"]


def test_a_folder_that_vanishes_meanwhile_is_counted_and_named(root: Path, walk: Walk) -> None:
    put(root, "1.jpg", "gone/2.jpg")
    source = walk()
    images = iter(source)
    next(images)
    (root / "gone" / "2.jpg").unlink()
    (root / "gone").rmdir()

    assert list(images) == []
    assert source.skipped.unreadable == [f"{root / 'gone'} (No such file or directory)"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable for root")
def test_an_unreadable_folder_that_was_named_is_an_error(root: Path, walk: Walk) -> None:
    (root / "locked").mkdir(mode=0)

    with pytest.raises(FolderUnreadable, match="cannot be read"):
        walk(root / "locked")


def test_a_missing_folder_is_an_error_that_knows_what_is_similar(root: Path, walk: Walk) -> None:
    (root / "holidays").mkdir()

    with pytest.raises(FolderMissing, match=r"no file or folder .*holyday; did you mean holidays\?"):
        walk(root / "holyday")


def test_a_folder_outside_the_image_root_is_an_error(root: Path) -> None:
    (root / "shared").mkdir()
    (root / "shared-not").mkdir()

    for outside in (root, root / "shared-not", root / "shared" / ".."):
        with pytest.raises(OutsideImageRoot, match="IMAGEFLEET_IMAGE_ROOT"):
            of_folders([outside], root / "shared", FORMATS)


def test_a_root_of_the_whole_machine_works(root: Path) -> None:
    put(root, "1.jpg")

    source = of_folders([root], Path("/"), FORMATS)

    assert paths(source) == [str(root / "1.jpg").lstrip("/")]
    assert source.folders == (str(root).lstrip("/"),)


def test_reasons_stay_few_however_many_suffixes_there_are() -> None:
    skipped = Skipped()

    for number in range(1000):
        skipped.count(f".{number}")

    assert len(skipped.reasons) == REASONS_MAX + 1
    assert skipped.reasons.total() == 1000


def test_an_empty_folder_and_one_without_pictures_are_told_apart(root: Path, walk: Walk) -> None:
    empty = walk()
    assert paths(empty) == []
    assert "it is empty" in str(nothing_found(empty))

    put(root, "a.txt")
    useless = walk()
    assert paths(useless) == []
    assert isinstance(nothing_found(useless), NothingFound)
    assert str(nothing_found(useless)) == f"There are no pictures in {root}; passed over: 1 .txt."


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.jpg", None),
        ("folder/a.JPG", None),
        ("notes.txt", ".txt"),
        ("README", "no suffix"),
        (".hidden.jpg", "hidden"),
        (".git/a.jpg", "in a hidden folder"),
    ],
)
def test_the_reason_for_one_file_is_that_of_the_walk(root: Path, name: str, reason: str | None) -> None:
    put(root, name)
    assert reason_not_walked(str(root / name), str(root), suffixes_of(FORMATS)) == reason
    assert reason_not_walked(str(root / "none.jpg"), str(root), suffixes_of(FORMATS)) is None


def test_the_reason_for_links_to_folders_and_for_pipes_is_that_of_the_walk(root: Path) -> None:
    (root / "folder").mkdir()
    (root / "link.jpg").symlink_to(root / "folder")
    os.mkfifo(root / "pipe.jpg")
    assert reason_not_walked(str(root / "link.jpg"), str(root), suffixes_of(FORMATS)) == "linked folder"
    assert reason_not_walked(str(root / "pipe.jpg"), str(root), suffixes_of(FORMATS)) == "not a file"
