"""Paths that a person types, made into the paths that messages carry: canonical and relative to the image root."""

from __future__ import annotations

import difflib
import os
from contextlib import suppress
from pathlib import Path

from producer.errors import FolderMissing, FolderUnreadable, OutsideImageRoot
from producer.shown import shown

UNLIKE_ALL = "; check the spelling."

Place = str | os.PathLike[str]


def canonical(place: Place) -> str:
    """The absolute path of a file or folder that exists; links in it are resolved, except a file that is itself one.

    Raises FolderMissing, which says what is similar.
    """
    path = _named(place)
    try:
        os.stat(path)  # noqa: PTH116
    except PermissionError:
        raise FolderUnreadable(f"{shown(path)} may not be read by this user; change its permissions.") from None
    except (OSError, ValueError):
        raise FolderMissing(missing("file or folder", place)) from None
    return os.path.realpath(path) if os.path.isdir(path) else _with_real_parent(path)  # noqa: PTH112


def missing(kind: str, place: Place) -> str:
    """The sentence for a path where nothing is, with what is similar there."""
    return f"There is no {kind} {shown(os.fspath(place))}{_similar(_absolute(place))}"


def relative_to_root(path: str, root: Path) -> str:
    """The path below the image root; empty for the root itself. Raises OutsideImageRoot."""
    base = str(root).rstrip("/")
    if path.rstrip("/") == base:
        return ""
    if not path.startswith(base + "/"):
        raise OutsideImageRoot(
            f"{shown(path)} lies outside the image root {shown(str(root))}; set IMAGEFLEET_IMAGE_ROOT to a folder"
            " above it, here and for the workers."
        )
    return path[len(base) + 1 :]


def of_indexed(place: Place, root: Path) -> str:
    """The path, relative to the root, of an image that may be indexed though its file is gone.

    As a shell has it, or else relative to the image root. Raises OutsideImageRoot.
    """
    typed = _absolute(place)
    below_root = root / place
    lies_below_root = not os.path.lexists(typed) and (os.path.lexists(below_root) or not _folder_of(typed))
    return relative_to_root(_with_real_parent(str(below_root) if lies_below_root else typed), root)


def of_folder(place: Place, root: Path) -> str:
    """The path, relative to the root, of a folder that may be gone. Raises OutsideImageRoot."""
    return relative_to_root(os.path.realpath(_named(place)), root)


def nearest(word: str, known: list[str]) -> str:
    """`; did you mean ...?`, or nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {shown(close[0])}?" if close else ""


def _similar(path: str) -> str:
    parent, name = os.path.split(path.rstrip("/"))
    with suppress(OSError):
        return nearest(name, os.listdir(parent)) or UNLIKE_ALL  # noqa: PTH208
    return UNLIKE_ALL


def _named(place: Place) -> str:
    if not os.fspath(place):  # which would mean the working folder
        raise FolderMissing("An empty name is no file or folder; name one, `.` for the folder that you are in.")
    return _absolute(place)


def _absolute(place: Place) -> str:
    return os.path.abspath(os.path.expanduser(place))  # noqa: PTH100, PTH111


def _folder_of(path: str) -> bool:
    return os.path.isdir(os.path.dirname(path))  # noqa: PTH112, PTH120


def _with_real_parent(path: str) -> str:
    parent, name = os.path.split(path)
    return os.path.join(os.path.realpath(parent), name)  # noqa: PTH118
