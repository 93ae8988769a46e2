"""Pulling models from servers on this machine that behave, and from ones that do not."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models import pins
from models.download import PULLS, pull
from models.errors import DownloadFailed, InvalidSpec
from models.spec import ModelSpec, find, read
from tests.file_server import Asked, FileServer, certificate
from tests.waiting import wait_until

BODY = os.urandom(1_000_000)
SUM = hashlib.sha256(BODY).hexdigest()
PATH = "zoo/model.onnx"

SPEC = """
name = "pulled"
title = "A test's model"
licence = "MIT"
source = "a test"
file = "model.onnx"
sha256 = "{sha256}"
[input]
tensor = "x"
height = 4
width = 4
[preprocess]
resize = "exact"
[feature]
tensor = "y"
dimension = 3
[download]
url = "zoo/model.onnx"
{bytes}
"""
COMMAND = [sys.executable, "-c", "from producer.cli import main; main()", "models", "pull"]


class Heard:
    """A watch that remembers."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int, int | None]] = []
        self.said: list[str] = []
        self.bytes = 0

    def begin(self, file: str, done: int, total: int | None) -> None:
        self.begun.append((file, done, total))

    def advance(self, count: int) -> None:
        self.bytes += count

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def given_a_model(folder: Path, sha256: str = SUM, size: int | None = len(BODY)) -> ModelSpec:
    """In `folder`, not yet pulled."""
    text = SPEC.format(sha256=sha256, bytes=f"bytes = {size}" if size else "")
    (folder / "pulled.toml").write_text(text, encoding="utf-8")
    return read(folder / "pulled.toml")


def pulled(folder: Path, server: FileServer, spec: ModelSpec | None = None) -> Heard:
    heard = Heard()
    pull(spec or given_a_model(folder), folder, heard, mirror=server.address)
    return heard


def refused(folder: Path, server: FileServer, match: str, spec: ModelSpec | None = None) -> None:
    with pytest.raises(DownloadFailed, match=match):
        pulled(folder, server, spec)
    assert not (folder / "model.onnx").exists()


def part(folder: Path) -> Path:
    return folder / PULLS / "model.onnx.part"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer({f"/{PATH}": BODY}) as running:
        yield running


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


# --- as it should be


def test_a_model_is_pulled_once_and_then_needs_no_server(tmp_path: Path, server: FileServer) -> None:
    heard = pulled(tmp_path, server)
    assert (tmp_path / "model.onnx").read_bytes() == BODY
    assert heard.begun == [("model.onnx", 0, len(BODY))]
    assert heard.bytes == len(BODY)
    server.status = 500
    assert pulled(tmp_path, server).begun == []
    assert server.asked == [Asked(f"/{PATH}", None)]
    assert not part(tmp_path).exists()


def test_another_address_replaces_the_one_of_the_catalogue(tmp_path: Path, server: FileServer) -> None:
    server.files["/elsewhere"] = BODY
    pull(given_a_model(tmp_path), tmp_path, Heard(), url=f"{server.address}/elsewhere")
    assert server.asked == [Asked("/elsewhere", None)]


def test_a_file_that_is_not_the_right_one_is_replaced(tmp_path: Path, server: FileServer) -> None:
    (tmp_path / "model.onnx").write_bytes(b"something else")
    pulled(tmp_path, server)
    assert (tmp_path / "model.onnx").read_bytes() == BODY


def test_redirects_are_followed(tmp_path: Path, server: FileServer) -> None:
    server.files["/cdn"] = BODY
    server.redirects[f"/{PATH}"] = f"{server.address}/cdn"
    pulled(tmp_path, server)
    assert [asked.path for asked in server.asked] == [f"/{PATH}", "/cdn"]


def test_https_needs_a_certificate_that_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = given_a_folder(tmp_path)
    pem = given_a_certificate(tmp_path)
    with FileServer({f"/{PATH}": BODY}, pem) as server:
        refused(folder, server, "certificate of 127.0.0.1 is not trusted .* SSL_CERT_FILE")
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        pulled(folder, server)
    assert (folder / "model.onnx").read_bytes() == BODY


def test_https_does_not_lead_on_to_plain_http(
    tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = given_a_folder(tmp_path)
    pem = given_a_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    with FileServer({}, pem) as secure:
        secure.redirects[f"/{PATH}"] = f"{server.address}/{PATH}"
        refused(folder, secure, "leads on to plain HTTP .* refused")
    assert server.asked == []


def test_a_proxy_of_the_environment_is_used(
    tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files[f"http://models.invalid/{PATH}"] = BODY
    monkeypatch.setenv("http_proxy", server.address)
    pull(given_a_model(tmp_path), tmp_path, Heard(), mirror="http://models.invalid")
    assert (tmp_path / "model.onnx").read_bytes() == BODY


# --- going on


def test_a_connection_that_breaks_off_is_taken_up_at_once_where_it_ended(tmp_path: Path, server: FileServer) -> None:
    server.cuts = [400_000, 300_000]
    heard = pulled(tmp_path, server)
    assert [asked.start for asked in server.asked] == [None, 400_000, 700_000]
    assert heard.begun[-1] == ("model.onnx", 700_000, len(BODY))
    assert heard.bytes == len(BODY)
    assert (tmp_path / "model.onnx").read_bytes() == BODY


def test_a_download_that_was_given_up_goes_on_at_the_next_pull(tmp_path: Path, server: FileServer) -> None:
    server.cuts = [500_000, *[0] * 10]
    refused(tmp_path, server, "broke off after 500,000 bytes .*1,000,000.*; pull again, it goes on from there")
    server.cuts = []
    server.asked.clear()
    pulled(tmp_path, server)
    assert server.asked == [Asked(f"/{PATH}", 500_000)]
    assert (tmp_path / "model.onnx").read_bytes() == BODY


@pytest.mark.parametrize("change", [{"has_ranges": False}, {"etag": '"second"'}, {"etag": None}])
def test_it_begins_anew_where_the_server_has_no_ranges_or_another_version(
    tmp_path: Path, server: FileServer, change: dict[str, Any]
) -> None:
    server.cuts = [500_000, *[0] * 10]
    refused(tmp_path, server, "broke off")
    server.cuts = []
    vars(server).update(change)
    heard = pulled(tmp_path, server)
    assert heard.begun == [("model.onnx", 0, len(BODY))]
    assert (tmp_path / "model.onnx").read_bytes() == BODY


def test_a_part_longer_than_the_file_is_dropped(tmp_path: Path, server: FileServer) -> None:
    server.cuts = [500_000, *[0] * 10]
    refused(tmp_path, server, "broke off")
    server.cuts = []
    part(tmp_path).write_bytes(bytes(2 * len(BODY)))
    pulled(tmp_path, server)
    assert (tmp_path / "model.onnx").read_bytes() == BODY


def test_a_complete_part_needs_no_server(tmp_path: Path, server: FileServer) -> None:
    part(tmp_path).parent.mkdir()
    part(tmp_path).write_bytes(BODY)
    pulled(tmp_path, server)
    assert server.asked == []


# --- what may go wrong


def test_a_wrong_checksum_deletes_and_says_so(tmp_path: Path, server: FileServer) -> None:
    server.files[f"/{PATH}"] = BODY[::-1]
    refused(tmp_path, server, rf"another file, and was deleted: .* instead of {SUM}")
    assert not part(tmp_path).exists()
    server.files[f"/{PATH}"] = BODY
    pulled(tmp_path, server)


def test_another_size_is_refused_before_anything_is_downloaded(tmp_path: Path, server: FileServer) -> None:
    server.files[f"/{PATH}"] = b"version https://git-lfs.github.com/spec/v1"
    refused(tmp_path, server, "has a file of 42 bytes there, and it must have 1,000,000")


def test_more_bytes_than_the_file_has_are_refused(tmp_path: Path, server: FileServer) -> None:
    server.files[f"/{PATH}"] = BODY * 3
    server.says_length = False
    refused(tmp_path, server, "sends more than the 1,000,000 bytes")


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (404, f"127.0.0.1 answers 404 Not Found to /{PATH}: the file is not there; .*--url"),
        (403, "answers 403 Forbidden: it does not give the file to everybody"),
        (503, "answers 503 Service Unavailable; try again later"),
    ],
)
def test_what_a_server_refuses_is_one_sentence(tmp_path: Path, server: FileServer, status: int, sentence: str) -> None:
    server.status = status
    refused(tmp_path, server, sentence)
    assert len(server.asked) == 1


def test_a_circle_of_redirects_ends(tmp_path: Path, server: FileServer) -> None:
    server.redirects[f"/{PATH}"] = f"{server.address}/{PATH}"
    refused(tmp_path, server, "answers 302 Found")


def test_no_network_is_one_sentence(tmp_path: Path, server: FileServer) -> None:
    with pytest.raises(DownloadFailed, match=r"models\.invalid cannot be reached .* IMAGEFLEET_MODEL_MIRROR"):
        pull(given_a_model(tmp_path), tmp_path, Heard(), mirror="https://models.invalid")


def test_a_silent_server_does_not_hold_anybody(
    tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.stops_in_the_middle = True
    monkeypatch.setattr("models.connection.SILENCE_SECONDS", 0.2)
    refused(tmp_path, server, r"broke off after \d+,\d+ bytes \(.*timed out")


def test_too_little_room_is_found_before_the_download(
    tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.download.shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    refused(tmp_path, server, "has 1,000,000 bytes, and .* has room for 10; make room")
    assert server.asked == []


def test_a_full_disk_keeps_what_came(tmp_path: Path, server: FileServer) -> None:
    given_a_model(tmp_path)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)); "
    ended = run("pulled", folder=tmp_path, mirror=server.address, before=limit)
    assert ended.returncode == 2
    assert os.strerror(errno.EFBIG) in ended.stderr
    assert "make room, and pull again" in ended.stderr
    assert part(tmp_path).stat().st_size == 300_000
    assert run("pulled", folder=tmp_path, mirror=server.address).returncode == 0
    assert server.asked[-1].start == 300_000


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, server: FileServer) -> None:
    spec = given_a_model(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(DownloadFailed, match=r"file.* cannot be used .*IMAGEFLEET_MODEL_DIR"):
        pull(spec, tmp_path / "file", Heard(), mirror=server.address)


@pytest.mark.parametrize("address", ["ftp://host/file", "file:///etc/passwd", "http://", "https://host:port/"])
def test_only_addresses_of_the_web_are_taken(tmp_path: Path, address: str) -> None:
    with pytest.raises(DownloadFailed, match="is no address of HTTPS or HTTP"):
        pull(given_a_model(tmp_path), tmp_path, Heard(), url=address)


# --- first use


def test_what_is_pulled_first_is_recorded_and_holds(tmp_path: Path, server: FileServer) -> None:
    spec = given_a_model(tmp_path, "first-use", None)
    before = find("pulled", tmp_path).fingerprint
    pulled(tmp_path, server, spec)
    assert pins.read(tmp_path) == {"model.onnx": SUM}
    assert find("pulled", tmp_path).sha256 == SUM
    assert find("pulled", tmp_path).fingerprint != before
    (tmp_path / "model.onnx").unlink()
    server.files[f"/{PATH}"] = BODY[::-1]
    refused(tmp_path, server, rf"another file, and was deleted: .* instead of {SUM} \(recorded in .*pins\.json\)", spec)


def test_a_file_that_was_put_there_counts_as_the_first(tmp_path: Path, server: FileServer) -> None:
    spec = given_a_model(tmp_path, "first-use", None)
    (tmp_path / "model.onnx").write_bytes(b"mine")
    pulled(tmp_path, server, spec)
    assert pins.read(tmp_path) == {"model.onnx": hashlib.sha256(b"mine").hexdigest()}
    assert server.asked == []


def test_what_is_pulled_first_must_come_whole(tmp_path: Path, server: FileServer) -> None:
    server.says_length = False
    refused(tmp_path, server, "does not say how long the file is", given_a_model(tmp_path, "first-use", None))
    assert pins.read(tmp_path) == {}


def test_what_is_pulled_first_does_not_come_over_plain_http(tmp_path: Path) -> None:
    spec = given_a_model(tmp_path, "first-use", None)
    with pytest.raises(DownloadFailed, match=r"No checksum is known yet, so plain HTTP .* is refused"):
        pull(spec, tmp_path, Heard(), mirror="http://models.invalid")


def test_a_damaged_record_is_said(tmp_path: Path, server: FileServer) -> None:
    (tmp_path / pins.PINS).write_text("{}}")
    with pytest.raises(InvalidSpec, match=r"pins\.json cannot be read .* repair it"):
        pulled(tmp_path, server, given_a_model(tmp_path, "first-use", None))


# --- the command, and several at once


def test_the_command_says_what_it_did(tmp_path: Path, server: FileServer) -> None:
    given_a_model(tmp_path)
    ended = run("pulled", "colour", folder=tmp_path, mirror=server.address)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"{tmp_path / 'model.onnx'}: 1,000,000 bytes, checked" in ended.stdout
    assert "imagefleet index DIR --model pulled" in ended.stdout
    assert "colour is part of imagefleet" in ended.stdout
    assert "pulled is here already, checked" in run("pulled", folder=tmp_path, mirror=server.address).stdout


def test_the_folder_and_the_mirror_are_settings_too(
    tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_a_model(tmp_path)
    monkeypatch.setenv("IMAGEFLEET_MODEL_DIR", str(tmp_path))
    monkeypatch.setenv("IMAGEFLEET_MODEL_MIRROR", server.address)
    assert subprocess.run([*COMMAND, "pulled"], capture_output=True, timeout=60, check=False).returncode == 0
    assert (tmp_path / "model.onnx").read_bytes() == BODY


def test_one_address_is_of_one_model(tmp_path: Path) -> None:
    ended = run("vgg16", "vgg19", "--url", "https://models.invalid/vgg", folder=tmp_path, mirror="")
    assert (ended.returncode, "--url is the address of one model" in ended.stderr) == (2, True)


def test_one_that_fails_does_not_keep_the_others(tmp_path: Path, server: FileServer) -> None:
    given_a_model(tmp_path)
    ended = run("resnet99", "mobilenetv2-int8", "pulled", folder=tmp_path, mirror=server.address)
    assert ended.returncode == 2
    first, second = ended.stderr.splitlines()
    assert first.startswith("imagefleet: resnet99: There is no model 'resnet99'; known are ")
    assert second.startswith("imagefleet: mobilenetv2-int8: 127.0.0.1 answers 404 Not Found")
    assert (tmp_path / "model.onnx").exists()


def test_two_pulls_at_once_download_once(tmp_path: Path, server: FileServer) -> None:
    given_a_model(tmp_path)
    server.stops_in_the_middle = True
    with started(tmp_path, server) as first:
        wait_until(lambda: server.asked, 20, "the first request")
        with started(tmp_path, server) as second:
            assert second.stderr is not None
            assert "Another process is pulling model.onnx" in second.stderr.readline()
            server.gate.set()
            assert (first.wait(20), second.wait(20)) == (0, 0)
    assert server.asked == [Asked(f"/{PATH}", None)]
    assert (tmp_path / "model.onnx").read_bytes() == BODY


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_pull_that_is_stopped_goes_on_next_time(tmp_path: Path, server: FileServer, number: int, code: int) -> None:
    given_a_model(tmp_path)
    server.stops_in_the_middle = True
    with started(tmp_path, server) as process:
        wait_until(lambda: part(tmp_path).exists() and part(tmp_path).stat().st_size == 500_000, 20, "half of it")
        process.send_signal(number)
        assert process.wait(20) == code
    server.gate.set()
    assert run("pulled", folder=tmp_path, mirror=server.address).returncode == 0
    assert [asked.start for asked in server.asked] == [None, 500_000]


def run(*names: str, folder: Path, mirror: str, before: str = "") -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *names, "--model-dir", str(folder), "--mirror", mirror]
    command[2] = before + command[2]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def started(folder: Path, server: FileServer) -> subprocess.Popen[str]:
    command = [*COMMAND, "pulled", "--model-dir", str(folder), "--mirror", server.address]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def given_a_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def given_a_certificate(folder: Path) -> Path:
    try:
        return certificate(folder)
    except FileNotFoundError:
        pytest.skip("no openssl to make a certificate with")
