"""The image root: the one folder that a worker reads from, whatever a message asks for."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from models.errors import ImageError, ImageTooLarge
from workers.contract import MTIME_MAX

#: Not followed at the last step, never waits for a writer of a FIFO, not passed on to children.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ImageNotFound(ImageError):
    """No file has that path."""

    kind = "not_found"


class PathRefused(ImageError):
    """The path leads out of the image root, or to something that is no regular file."""

    kind = "refused"


class NoAccess(ImageError):
    """The file system refuses the file, or breaks off."""

    kind = "no_access"


class ImageChanging(ImageError):
    """Somebody writes the file at this moment."""

    kind = "changing"


class RootUnavailable(Exception):
    """The image root itself is missing or empty: a disk is not mounted. Never an image's fault."""


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was when it was read, which may not be as the producer saw it."""

    data: bytes
    #: Bytes.
    size: int
    #: Nanoseconds since the epoch.
    mtime_ns: int


class ImageRoot:
    """Reads files below `folder` by their relative paths."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """`max_bytes`: larger files are refused before they are read."""
        self.folder = folder
        self._real = os.path.realpath(folder)
        self._max_bytes = max_bytes

    def read(self, path: str) -> File:
        """The whole file. Raises ImageNotFound, PathRefused, ImageTooLarge, NoAccess or ImageChanging about this image,
        and RootUnavailable where the root is to blame."""
        try:
            return self._read(self._resolve(path))
        except FileNotFoundError:
            self.check()
            raise ImageNotFound("There is no such file under the image root.") from None
        except OSError as error:
            self.check()
            raise NoAccess(f"The file cannot be read ({error.strerror or error}).") from None

    def is_gone(self, path: str) -> bool:
        """Whether no file has that path any more; anything that cannot be told counts as there."""
        try:
            os.lstat(self._join(path))
        except (FileNotFoundError, NotADirectoryError):
            return True
        except (OSError, ValueError):
            return False
        return False

    def check(self) -> None:
        """Raises RootUnavailable unless the root is a folder with something in it."""
        try:
            with os.scandir(self.folder) as entries:
                if next(entries, None) is not None:
                    return
            problem = "is empty"
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
        raise RootUnavailable(f"The image root {self.folder} {problem}; is its disk mounted?")

    def _join(self, path: str) -> str:
        if path.startswith("/") or "\0" in path or ".." in path.split("/"):
            raise PathRefused("The path does not stay below the image root.")
        return os.path.join(self.folder, path)  # noqa: PTH118 -- a Path costs ten times as much here

    def _resolve(self, path: str) -> str:
        real = os.path.realpath(self._join(path))
        if not real.startswith(self._real.rstrip("/") + "/"):
            raise PathRefused("A symbolic link leads out of the image root.")
        return real

    def _read(self, real: str) -> File:
        descriptor = os.open(real, _FLAGS)
        try:
            status = os.fstat(descriptor)
            self._check_kind_and_size(status)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(status.st_size + 1)
        finally:
            os.close(descriptor)
        if len(data) != status.st_size:
            raise ImageChanging("The file changed while it was read; index again when it is complete.")
        return File(data=data, size=len(data), mtime_ns=min(status.st_mtime_ns, MTIME_MAX))

    def _check_kind_and_size(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise PathRefused("It is no regular file.")
        if status.st_size > self._max_bytes:
            raise ImageTooLarge(
                f"The file has {status.st_size} bytes, more than the {self._max_bytes} that are allowed."
            )
