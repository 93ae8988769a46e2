"""The files of a catalogued model, from their home or a mirror into the model folder, which processes may share.

A file gets its name only when its size and its checksum are right.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from models import pins, transfer
from models.errors import DownloadFailed
from models.pins import FIRST_USE
from models.spec import ModelSpec, catalogue
from models.transfer import Watch

#: Addresses of specifications that are paths are below this, or below a mirror of it.
HOME: Final = "https://huggingface.co"
#: In the model folder: what is not complete yet, and a lock for each file.
PULLS: Final = ".pulls"
#: Seconds that another process may take for the same file.
WAIT_SECONDS: Final = 3600.0
#: Seconds between looks whether it is done.
LOOK_SECONDS: Final = 0.2


@dataclass(frozen=True)
class Wanted:
    """One file of a model."""

    model: str
    #: Relative to the model folder.
    file: str
    #: Or FIRST_USE.
    sha256: str
    #: Of the specification; empty where it has none.
    url: str
    bytes: int | None


@dataclass(frozen=True)
class Pulled:
    """A file that is in the model folder now."""

    path: Path
    bytes: int
    #: False if it was there before.
    is_new: bool


def files(spec: ModelSpec) -> list[Wanted]:
    """What `spec` consists of, the ONNX file of the pictures first."""
    url, size = (spec.download.url, spec.download.bytes) if spec.download else ("", None)
    found = [Wanted(spec.name, spec.file, spec.sha256, url, size)]
    text = spec.text
    if text is not None:
        url, tokenizer_url = text.download or "", text.tokenizer_download or ""
        found.append(Wanted(spec.name, text.file, text.sha256, url, text.bytes))
        found.append(Wanted(spec.name, text.tokenizer, text.tokenizer_sha256, tokenizer_url, text.tokenizer_bytes))
    return found


def pull(spec: ModelSpec, folder: Path, watch: Watch, *, mirror: str = "", url: str = "") -> list[Pulled]:
    """Bring the files of `spec` into `folder`; one that is there and right stays, without a word to any server.

    `mirror` replaces HOME, `url` the whole address of the ONNX file; checksums stay. Raises DownloadFailed.
    """
    first, *others = files(spec)
    try:
        pulled = [_pull_file(first, url or _address(first, mirror), folder, watch)]
        pulled += [_pull_file(wanted, _address(wanted, mirror), folder, watch) for wanted in others]
    except OSError as error:
        raise DownloadFailed(
            f"{error.filename or folder} cannot be used ({error.strerror}); "
            "mend that, or choose another folder by IMAGEFLEET_MODEL_DIR."
        ) from None
    catalogue.cache_clear()
    return pulled


def _address(wanted: Wanted, mirror: str) -> str:
    """Full address; empty if the specification names none. Raises DownloadFailed for a mirror that is none."""
    if not wanted.url or "://" in wanted.url:
        return wanted.url
    base = mirror or HOME
    if "://" not in base:
        raise DownloadFailed(f"The mirror {base!r} is no address; set IMAGEFLEET_MODEL_MIRROR as https://HOST/PATH.")
    return f"{base.rstrip('/')}/{quote(wanted.url, safe='/@+')}"


def _pull_file(wanted: Wanted, address: str, folder: Path, watch: Watch) -> Pulled:
    target = folder / wanted.file
    part = folder / PULLS / f"{quote(wanted.file, safe='')}{transfer.PART}"
    part.parent.mkdir(parents=True, exist_ok=True)
    with _alone(part.with_suffix(".lock"), wanted, watch):
        expected = _expected(wanted, folder)
        if target.is_file() and _is_right(target, expected, wanted, folder):
            return Pulled(target, target.stat().st_size, is_new=False)
        if not address:
            raise DownloadFailed(
                f"The specification of {wanted.model} names no address of {wanted.file}; "
                f"put it into {folder}, or give one by --url."
            )
        _refuse_small_disk(part, wanted)
        transfer.receive(address, part, wanted.bytes, watch, trusts_plain=bool(expected))
        _accept(part, expected, wanted, folder)
        target.parent.mkdir(exist_ok=True)
        part.replace(target)
        transfer.forget(part)
        return Pulled(target, target.stat().st_size, is_new=True)


# --- checksums


def _expected(wanted: Wanted, folder: Path) -> str | None:
    """The checksum; None if the file is to be pulled for the first time."""
    return pins.read(folder).get(wanted.file) if wanted.sha256 == FIRST_USE else wanted.sha256


def _is_right(target: Path, expected: str | None, wanted: Wanted, folder: Path) -> bool:
    """Whether what is there is what is wanted; the first file of a name is, and is recorded."""
    found = _sha256(target)
    if expected is None:
        _record(folder, wanted.file, found)
    return found == (expected or found)


def _accept(part: Path, expected: str | None, wanted: Wanted, folder: Path) -> None:
    """Raises DownloadFailed, and removes `part`, if it is not the file that is wanted."""
    found = _sha256(part)
    if expected is None:
        _record(folder, wanted.file, found)
    elif found != expected:
        transfer.forget(part)
        recorded = f" (recorded in {folder / pins.PINS})" if wanted.sha256 == FIRST_USE else ""
        raise DownloadFailed(
            f"What came for {wanted.file} is another file, and was deleted: it has sha256 {found} "
            f"instead of {expected}{recorded}; pull again, or from another server by --url."
        )


def _record(folder: Path, file: str, sha256: str) -> None:
    with (folder / PULLS / "pins.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pins.record(folder, file, sha256)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# --- the folder


@contextlib.contextmanager
def _alone(lock_file: Path, wanted: Wanted, watch: Watch) -> Iterator[None]:
    """Among all processes that share the folder; the lock of one that dies is free. Raises DownloadFailed."""
    deadline = time.monotonic() + WAIT_SECONDS
    with lock_file.open("w") as lock:
        if not _locked(lock.fileno()):
            watch.say(f"Another process is pulling {wanted.file}; waiting for it.")
            while not _locked(lock.fileno()):
                if time.monotonic() > deadline:
                    raise DownloadFailed(f"Another process has been pulling {wanted.file} for an hour; end it.")
                time.sleep(LOOK_SECONDS)
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _refuse_small_disk(part: Path, wanted: Wanted) -> None:
    have = part.stat().st_size if part.exists() else 0
    free = shutil.disk_usage(part.parent).free
    if (wanted.bytes or 0) - have > free:
        raise DownloadFailed(
            f"{wanted.file} has {wanted.bytes:,} bytes, and {part.parent.parent} has room for {free:,}; make room, "
            "or choose another folder by IMAGEFLEET_MODEL_DIR."
        )
