"""Walking folders: sorted, lazily, without loops; what is passed over is counted by its reason.

Memory is the names of one folder, of at most PART_MAX files at a time, and the folders that are still to be walked.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice

from workers.contract import MTIME_MAX, PATH_MAX, Image

#: File suffixes of the formats that the settings can name, lower case.
SUFFIXES: dict[str, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".mpo",),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp", ".dib"),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
}
#: Reasons counted apart; what comes later is counted as `other`, so that no folder can fill the ledger with names.
REASONS_MAX = 50
#: Unreadable folders that are remembered by name.
NAMED_MAX = 20
#: Names that are held and sorted together; a larger folder comes in several parts, so that memory stays flat.
PART_MAX = 100_000
#: Bytes; longer than a name can be on any file system.
NAME_MAX = 1024
_PLAIN_SUFFIX = re.compile(r"\.[a-z0-9_~+-]{1,10}")


@dataclass(slots=True)
class Skipped:
    """What a walk passed over: how much for which reason, and the first folders that could not be read."""

    reasons: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)

    def count(self, reason: str) -> None:
        known = reason in self.reasons or len(self.reasons) < REASONS_MAX
        self.reasons[reason if known else "other"] += 1

    def cannot_read(self, folder: str, error: OSError) -> None:
        self.count("unreadable folder")
        if len(self.unreadable) < NAMED_MAX:
            self.unreadable.append(f"{folder} ({error.strerror or error})")


def image_at(file: str | os.PathLike[str], path: str) -> Image:
    """What the file system says of a file now; size and time are 0 where it says nothing."""
    try:
        found = os.stat(file)  # noqa: PTH116 - a Path per file costs more than the call
    except (OSError, ValueError):
        return Image(path, 0, 0)
    return Image(path, found.st_size, min(found.st_mtime_ns, MTIME_MAX))


class Walk:
    """Depth first and sorted. Folders that are symbolic links are not followed, so that there are no loops."""

    def __init__(self, starts: Sequence[str], root: str, suffixes: frozenset[str], skipped: Skipped) -> None:
        self._starts = starts
        self._asked_for = frozenset(starts)
        self._prefix = len(root.rstrip("/")) + 1
        self._suffixes = suffixes
        self._skipped = skipped
        self._begun: set[str] = set()

    def images(self) -> Iterator[Image]:
        for start in self._starts:
            if os.path.isdir(start):  # noqa: PTH112
                yield from self._below(start)
            else:
                yield image_at(start, start[self._prefix :])

    def _below(self, start: str) -> Iterator[Image]:
        stack = [start]
        while stack:
            folder = stack.pop()
            if not self._first_time(folder):
                continue
            before = folder if folder.endswith("/") else f"{folder}/"
            folders: list[str] = []
            for names in self._parts(folder, folders):
                yield from self._images(before, names)
            stack += [before + name for name in reversed(_in_order(folders))]

    def _first_time(self, folder: str) -> bool:
        """Only the folders that were asked for can be met twice."""
        if folder in self._begun:
            return False
        if folder in self._asked_for:
            self._begun.add(folder)
        return True

    def _parts(self, folder: str, folders: list[str]) -> Iterator[list[str]]:
        """Names of the images in a folder, sorted, PART_MAX at a time; its folders are added to `folders`."""
        try:
            with os.scandir(folder) as found:
                while (first := next(found, None)) is not None:
                    part = chain([first], islice(found, PART_MAX - 1))
                    yield _in_order(self._sift(folder, part, folders))
        except OSError as error:
            self._skipped.cannot_read(folder, error)

    def _sift(self, folder: str, entries: Iterable[os.DirEntry[str]], folders: list[str]) -> list[str]:
        """One pass for all: what is done here is done for each of millions of files."""
        names: list[str] = []
        hidden, suffixes = 0, self._suffixes
        roomy = 4 * len(folder) + NAME_MAX < PATH_MAX
        for entry in entries:
            name = entry.name
            if name[0] == ".":
                hidden += 1
            elif roomy and name[name.rfind(".") :].lower() in suffixes and entry.is_file(follow_symlinks=False):
                names.append(name)
            elif _is_folder(entry):
                folders.append(name)
            elif (reason := reason_to_skip(entry, suffixes)) is None:
                names.append(name)
            else:
                self._skipped.count(reason)
        if hidden:
            self._skipped.reasons["hidden"] += hidden
        return names

    def _images(self, before: str, names: Iterable[str]) -> Iterator[Image]:
        """`before`: the folder, with the slash behind it. Sizes are looked up as they are wanted, not before."""
        inside = before[self._prefix :]
        for name in names:
            try:
                found = os.stat(before + name)  # noqa: PTH116
            except OSError:
                yield Image(inside + name, 0, 0)
            else:
                yield Image(inside + name, found.st_size, min(found.st_mtime_ns, MTIME_MAX))


def _in_order(names: list[str]) -> list[str]:
    """Sorted by their bytes, in place; for plain names that is the order of their characters, which is found sooner."""
    names.sort(key=None if all(map(str.isascii, names)) else os.fsencode)
    return names


def suffixes_of(formats: Iterable[str]) -> frozenset[str]:
    """The suffixes of these formats; of one that is not listed, its name."""
    return frozenset(suffix for name in formats for suffix in SUFFIXES.get(name, (f".{name.lower()}",)))


def reason_to_skip(entry: os.DirEntry[str], suffixes: frozenset[str]) -> str | None:
    """Why a walk passes over this file, if it does."""
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
    if entry.is_symlink() and _leads_to_folder(entry):
        return "linked folder"
    if suffix not in suffixes:
        return _name_of_suffix(suffix)
    if not entry.is_symlink() and not entry.is_file(follow_symlinks=False):
        return "not a file"
    if len(os.fsencode(entry.path)) > PATH_MAX:
        return "path too long"
    return None


def reason_not_walked(file: str, root: str, suffixes: frozenset[str]) -> str | None:
    """Why a walk of the whole root does not come to the file at this path, or passes over it."""
    folder, name = os.path.split(file)
    parts = os.path.relpath(file, root).split("/")
    if any(part.startswith(".") for part in parts):
        return "hidden" if name.startswith(".") else "in a hidden folder"
    with suppress(OSError), os.scandir(folder) as entries:
        entry = next((entry for entry in entries if entry.name == name), None)
        return entry and reason_to_skip(entry, suffixes)
    return None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):
        return entry.is_dir(follow_symlinks=False)
    return False


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):
        return entry.is_dir()
    return False


def _name_of_suffix(suffix: str) -> str:
    if not suffix:
        return "no suffix"
    return suffix if _PLAIN_SUFFIX.fullmatch(suffix) else "other"
