"""The image root: what a worker reads, and what it does not read whoever asks."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from models.errors import ImageTooLarge
from workers.image_root import ImageNotFound, ImageRoot, PathRefused, RootUnavailable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    (root / "holiday").mkdir(parents=True)
    (root / "holiday" / "a.jpg").write_bytes(b"abc")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    return root


@pytest.fixture
def root(folder: Path) -> ImageRoot:
    return ImageRoot(folder, max_bytes=10)


def test_a_file_comes_with_its_size_and_time(root: ImageRoot, folder: Path) -> None:
    os.utime(folder / "holiday" / "a.jpg", ns=(5, 7))
    file = root.read("holiday/a.jpg")
    assert (file.data, file.size, file.mtime_ns) == (b"abc", 3, 7)


def test_the_file_system_itself_may_be_the_root(folder: Path) -> None:
    path = str(folder / "holiday" / "a.jpg").lstrip("/")
    assert ImageRoot(Path("/"), max_bytes=10).read(path).data == b"abc"


@pytest.mark.parametrize(
    "path", ["../secret.jpg", "holiday/../../secret.jpg", "/etc/passwd", "holiday/a.jpg\0.png", "..", "holiday/.."]
)
def test_a_path_that_does_not_stay_below_the_root_is_refused(root: ImageRoot, path: str) -> None:
    with pytest.raises(PathRefused):
        root.read(path)


def test_a_link_out_of_the_root_is_refused_and_one_inside_is_followed(root: ImageRoot, folder: Path) -> None:
    (folder / "out.jpg").symlink_to("../secret.jpg")
    (folder / "outer").symlink_to("..")
    (folder / "in.jpg").symlink_to("holiday/a.jpg")
    for path in ("out.jpg", "outer/secret.jpg"):
        with pytest.raises(PathRefused, match="leads out"):
            root.read(path)
    assert root.read("in.jpg").data == b"abc"


def test_a_neighbour_whose_name_begins_alike_is_outside(root: ImageRoot, folder: Path) -> None:
    neighbour = folder.with_name("pictures-private")
    neighbour.mkdir()
    (neighbour / "a.jpg").write_bytes(b"x")
    (folder / "link.jpg").symlink_to(neighbour / "a.jpg")
    with pytest.raises(PathRefused):
        root.read("link.jpg")


def test_what_is_no_regular_file_is_refused_without_waiting(root: ImageRoot, folder: Path) -> None:
    os.mkfifo(folder / "fifo.jpg")
    with pytest.raises(PathRefused, match="no regular file"):
        root.read("fifo.jpg")
    with pytest.raises(PathRefused, match="no regular file"):
        root.read("holiday")


def test_a_socket_is_a_failure_of_its_own_image(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s.jpg"))
        with pytest.raises(Exception, match=r"cannot be read|no regular file"):
            ImageRoot(tmp_path, max_bytes=10).read("s.jpg")


def test_a_large_file_is_refused_before_it_is_read(root: ImageRoot, folder: Path) -> None:
    with (folder / "big.jpg").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ImageTooLarge, match="1099511627776 bytes"):
        root.read("big.jpg")


def test_a_missing_file_is_not_found(root: ImageRoot) -> None:
    with pytest.raises(ImageNotFound):
        root.read("holiday/b.jpg")


@pytest.mark.parametrize("unmount", [lambda folder: folder.rename(folder.with_name("x")), lambda folder: None])
def test_a_root_that_is_gone_or_empty_is_not_the_images_fault(tmp_path: Path, unmount: object) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    assert callable(unmount)
    unmount(folder)
    with pytest.raises(RootUnavailable, match="mounted"):
        ImageRoot(folder, max_bytes=10).read("a.jpg")


def test_gone_means_gone_for_certain(root: ImageRoot) -> None:
    assert root.is_gone("holiday/b.jpg")
    assert root.is_gone("holiday/a.jpg/b.jpg")
    assert not root.is_gone("holiday/a.jpg")
    assert not root.is_gone("x" * 300), "a name that cannot be looked up proves nothing"
