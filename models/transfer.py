"""One file over HTTPS into a partial file that a later call completes. Knows nothing of models or checksums."""

from __future__ import annotations

import contextlib
import email.message
import http.client
import urllib.error
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Final, Protocol

from models.connection import answered, ask, host, unreachable, why
from models.errors import DownloadFailed

#: Connections that may break off before the download is given up until the user asks again.
ATTEMPTS: Final = 5
#: Bytes that are read at once, at most: what is there is written, so that a stop loses nothing.
CHUNK: Final = 256 * 1024
#: Bytes of a file whose size nobody says beforehand.
MAX_BYTES: Final = 8 * 2**30
#: Ending of a partial file; beside it lies what the server calls the version of the file that it is a part of.
PART: Final = ".part"
TAG: Final = ".tag"


class Watch(Protocol):
    """Is told how it goes."""

    def begin(self, file: str, done: int, total: int | None) -> None:
        """`done` of `total` bytes are here already."""

    def advance(self, count: int) -> None:
        """`count` more bytes are here."""

    def say(self, sentence: str) -> None: ...


class _BrokenOff(Exception):
    """The connection ended early; what came is kept, and another attempt may go on from there."""


def receive(address: str, part: Path, size: int | None, watch: Watch, *, trusts_plain: bool) -> None:
    """Complete `part` with the bytes at `address`, from where an earlier call ended if the server still has that file.

    `size` is the number of bytes that the file must have, if it is known. See models.connection.ask for
    `trusts_plain`. Raises DownloadFailed; what came is kept, for another call to go on.
    """
    reason = ""
    for _ in range(ATTEMPTS):
        try:
            _receive_once(address, part, size, watch, trusts_plain)
            return
        except _BrokenOff as error:
            reason = str(error)
    raise DownloadFailed(
        f"The connection to {host(address)} broke off after {_length(part):,} bytes ({reason}); "
        "pull again, it goes on from there."
    )


def forget(part: Path) -> None:
    """Remove a partial file, so that the next call begins anew."""
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)


# --- one connection


def _receive_once(address: str, part: Path, size: int | None, watch: Watch, trusts_plain: bool) -> None:
    if size is not None and _length(part) == size:
        return
    start, headers = _resumption(part)
    try:
        with ask(address, headers, trusts_plain=trusts_plain) as response:
            begin = _first_byte(response, start, part)
            total = _total(response, begin, size, address)
            if begin == 0:
                _begin_anew(part, response.headers)
            watch.begin(part.name.removesuffix(PART), begin, total)
            _copy(response, part, begin, total or MAX_BYTES, watch)
    except urllib.error.HTTPError as error:
        with error:
            _refused(address, error, part, start)
    except urllib.error.URLError as error:
        raise unreachable(address, error.reason) from None
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOff(why(error)) from None
    else:
        if total is not None and _length(part) < total:
            raise _BrokenOff(f"it has {total:,}")


def _refused(address: str, error: urllib.error.HTTPError, part: Path, start: int) -> None:
    if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
        forget(part)
        raise _BrokenOff("the file there has changed") from None
    raise answered(address, error) from None


def _copy(response: http.client.HTTPResponse, part: Path, begin: int, limit: int, watch: Watch) -> None:
    with _to_disk(part):
        file = FileIO(part, "r+" if begin else "w")
    with file:
        file.seek(begin)
        while chunk := response.read1(CHUNK):
            begin += len(chunk)
            if begin > limit:
                raise DownloadFailed(f"The server sends more than the {limit:,} bytes that the file has; ask another.")
            with _to_disk(part):
                _write(file, chunk)
            watch.advance(len(chunk))


def _write(file: FileIO, chunk: bytes) -> None:
    """All of `chunk`: unbuffered files may take less, and buffered ones fail once more when they are closed."""
    left = memoryview(chunk)
    while left:
        left = left[file.write(left) :]


@contextlib.contextmanager
def _to_disk(part: Path) -> Iterator[None]:
    """What goes wrong in the block is the disk's fault, not the network's."""
    try:
        yield
    except OSError as error:
        raise DownloadFailed(
            f"{part} cannot be written ({error.strerror}); make room, and pull again: it goes on from there."
        ) from None


# --- going on where an earlier connection ended


def _resumption(part: Path) -> tuple[int, dict[str, str]]:
    """The first byte to ask for, and the headers for it. Without the version's name one must not go on."""
    start = _length(part)
    try:
        tag = _tag_file(part).read_text(encoding="latin-1")
    except OSError:
        tag = ""
    return (start, {"Range": f"bytes={start}-", "If-Range": tag}) if start and tag else (0, {})


def _begin_anew(part: Path, headers: email.message.Message) -> None:
    """Keep what HTTP lets one ask for a version by: a strong ETag, else the date."""
    etag = headers.get("ETag", "")
    tag = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
    with _to_disk(part):
        part.unlink(missing_ok=True)
        _tag_file(part).write_text(tag, encoding="latin-1", errors="replace")


def _first_byte(response: http.client.HTTPResponse, start: int, part: Path) -> int:
    """Where the body begins: at 0 if the server has no ranges, or another version by now."""
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return 0
    if response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        return start
    forget(part)
    raise _BrokenOff("the server sent another range than was asked for")


def _total(response: http.client.HTTPResponse, begin: int, size: int | None, address: str) -> int | None:
    """Bytes of the whole file, as far as anybody says; raises DownloadFailed if that is not `size`."""
    if response.length is None:
        if size is None and not getattr(response, "chunked", False):
            raise DownloadFailed(f"{host(address)} does not say how long the file is; ask another server.")
        return size
    total = begin + response.length
    if size not in (None, total):
        raise DownloadFailed(
            f"{host(address)} has a file of {total:,} bytes there, and it must have {size:,}; "
            "correct the address, or ask another server."
        )
    return total


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + TAG)


def _length(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0
