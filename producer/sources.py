"""Where images come from: folders that are walked, and lists of paths. Both are read as they are used, not as a whole.

Names are kept as the file system has them; bytes that are no UTF-8 travel as surrogate escapes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from producer.errors import FolderUnreadable
from producer.places import canonical, relative_to_root
from producer.shown import shown
from producer.walk import Skipped, Walk, image_at, suffixes_of
from workers.contract import PATH_MAX, Image

#: Images in the first batches.
FIRST_BATCH = 16
#: Batches of one size before the next are twice as large.
BATCHES_PER_SIZE = 8
#: Folders that a job names; of more, the first and a number are kept.
SHOWN_MAX = 10
#: What a job shows as its folder when it was fed from a list.
LISTED = "(list)"
#: Bytes read at once from a NUL-separated list.
CHUNK = 64 * 1024


@dataclass(slots=True)
class Source:
    """Images to index, once: iterate, then read what was `skipped`."""

    images: Iterable[Image]
    #: Relative to the image root, as the job shows them.
    folders: tuple[str, ...]
    #: For sentences: the folders as they were named, or the list.
    where: str
    skipped: Skipped = field(default_factory=Skipped)

    def __iter__(self) -> Iterator[Image]:
        return iter(self.images)


def of_folders(places: Sequence[str | os.PathLike[str]], root: Path, formats: Sequence[str]) -> Source:
    """All images below folders, and single files as they are named; a folder inside another is walked once.

    Raises FolderMissing, FolderUnreadable and OutsideImageRoot before anything is walked.
    """
    starts = list(dict.fromkeys(canonical(place) for place in places))
    folders = tuple(relative_to_root(start, root) for start in starts)
    for start in starts:
        _must_be_readable(start)
    where = ", ".join(_for_show(tuple(shown(os.fspath(place)) for place in places)))
    skipped = Skipped()
    return Source(Walk(starts, str(root), suffixes_of(formats), skipped).images(), _for_show(folders), where, skipped)


def of_list(stream: BinaryIO, root: Path, *, null: bool = False) -> Source:
    """The files of a list: one path a line, or NUL-separated; relative to the working folder; suffixes do not matter.

    A path that does not exist or lies outside the root is passed on, so that it ends among the job's failures.
    """
    entries = _separated(stream) if null else (line.rstrip(b"\r\n") for line in stream)
    here = Path.cwd()
    images = (_listed(os.fsdecode(entry), here, str(root)) for entry in entries if entry)
    return Source(images, (LISTED,), "the list")


def of_paths(paths: Iterable[str], root: Path, folders: tuple[str, ...]) -> Source:
    """Images by their paths relative to the root, looked at anew."""
    return Source((image_at(root / path, path) for path in paths), folders, "the list of failures")


def batches(images: Iterable[Image], largest: int) -> Iterator[list[Image]]:
    """Cut into batches that grow up to `largest` images, so that a small folder keeps all processes busy."""
    size, made, rest = min(FIRST_BATCH, largest), 0, iter(images)
    while batch := list(islice(rest, size)):
        yield batch
        made += 1
        size = min(largest, FIRST_BATCH * 2 ** min(made // BATCHES_PER_SIZE, 16))


def _for_show(folders: tuple[str, ...]) -> tuple[str, ...]:
    more = len(folders) - SHOWN_MAX
    return (*folders[:SHOWN_MAX], f"(and {more} more)") if more > 0 else folders


def _must_be_readable(start: str) -> None:
    """What was asked for by name must open; a folder found on the way may fail and is counted."""
    try:
        if stat.S_ISDIR(os.stat(start).st_mode):  # noqa: PTH116
            os.scandir(start).close()
    except OSError as error:
        raise FolderUnreadable(f"{shown(start)} cannot be read ({error.strerror}); change its permissions.") from None


def _listed(entry: str, here: Path, root: str) -> Image:
    file = os.path.join(here, entry)  # noqa: PTH118
    with suppress(ValueError, OSError):
        parent, name = os.path.split(file)
        file = os.path.join(os.path.realpath(parent), name)  # noqa: PTH118
    # Outside the root this begins with `..`, which workers refuse by name.
    return image_at(file, os.path.relpath(file, root)[:PATH_MAX])


def _separated(stream: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while chunk := stream.read(CHUNK):
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole
    yield rest.rstrip(b"\r\n")
