"""Every mistake on the command line ends in one sentence and exit code 2; nothing here needs a server."""

from __future__ import annotations

import io
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from producer.cli import COMMANDS, run
from tests.services import free_port

MODEL = "mobilenetv2-int8"
#: What a command line printed, and its exit code.
Done = tuple[int, str, str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with one picture, and settings with nothing behind them."""
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "a.jpg").write_bytes(b"picture")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGEFLEET_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("IMAGEFLEET_MODELS", MODEL)
    monkeypatch.setenv("IMAGEFLEET_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    return tmp_path


@pytest.fixture
def imagefleet(here: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    def call(*args: str) -> Done:
        code = run(args)
        return (code, *capsys.readouterr())

    return call


@pytest.fixture
def refused(imagefleet: Callable[..., Done]) -> Callable[..., str]:
    """The sentence with which a command line is refused; there must be nothing beside it."""

    def call(*args: str) -> str:
        code, printed, said = imagefleet(*args)
        assert (code, printed) == (2, ""), said
        (line,) = said.splitlines()
        assert line.startswith("imagefleet: ")
        assert line.endswith((".", "?"))
        return line.removeprefix("imagefleet: ")

    return call


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("up", "down", "demo")])
def test_every_command_has_help(imagefleet: Callable[..., Done], command: str) -> None:
    code, printed, _ = imagefleet(command, "--help")

    assert code == 0
    assert f"Usage: imagefleet {command} " in printed


MISTAKES = {
    "indx pics": "There is no command indx; did you mean index?",
    "frobnicate": "There is no command frobnicate; `imagefleet --help` lists them.",
    "index": "Name folders to index, or a list with --from-file, and not both. See `imagefleet index --help`.",
    "index pics --frob": "No such option '--frob'. See `imagefleet index --help`.",
    "index pisc": "There is no file or folder pisc; did you mean pics?",
    "index pics --model resnet5": "There is no model 'resnet5'; known are ",
    "index pics --library A/B": "'A/B' is no name for a library; ",
    "index ''": "An empty name is no file or folder; name one",
    "prune '' --yes": "An empty name is no file or folder; name one",
    "audit ''": "An empty name is no file or folder; name one",
    "search ''": "An empty name is no picture; name one.",
    f"index pics --library {'a' * 65}": "65 characters are too many for the name of a library; at most 64 are taken.",
    "search pics/a.jpg --timeout nan": "Invalid value for '--timeout': 'nan' is not a number of seconds.",
    "index --from-file none.txt": "The list none.txt cannot be read (No such file or directory).",
    "index pics": "Redis does not answer (",
    "status": "Redis does not answer (",
    "jobs --limit 0": "limit is 0 and must be from 1 to 10,000.",
    "workers": "Redis does not answer (",
    "cancel abc": "Redis does not answer (",
    "prune pics --yes": "Redis does not answer (",
    "search pics/a.jpg": "Redis does not answer (",
    "search pics/b.jpg": "There is no picture pics/b.jpg; did you mean a.jpg?",
    "search pics": "pics is a folder; name a picture in it.",
    "search": "There is nothing to search for; ",
    "search pics/a.jpg --limit 0": "limit is 0 and must be from 1 to 1,000.",
    "search pics/a.jpg --limit 1000000": "limit is 1,000,000 and must be from 1 to 1,000.",
    "search pics/a.jpg --limit many": "Invalid value for '--limit' / '-k': 'many' is not a valid integer.",
    "search pics/a.jpg --html no/hits.html": "no/hits.html cannot be written (No such file or directory); ",
    "result 123": "Redis does not answer (",
    "models show resnet5": "There is no model 'resnet5'; known are ",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_ends_in_one_sentence(refused: Callable[..., str], line: str) -> None:
    assert refused(*shlex.split(line)).startswith(MISTAKES[line])


WRONG = {"BATCH_SIZE": "0", "MODELS": ",", "REDIS_URL": "nonsense", "METRIC": "TASTE", "LIBRARY": "A B"}


@pytest.mark.parametrize("variable", WRONG)
def test_a_wrong_setting_is_named(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(f"IMAGEFLEET_{variable}", WRONG[variable])

    assert f"IMAGEFLEET_{variable}" in refused("jobs")


def test_a_folder_without_pictures_lists_what_is_there(here: Path, refused: Callable[..., str]) -> None:
    (here / "empty").mkdir()
    (here / "texts").mkdir()
    (here / "texts" / "a.txt").touch()

    assert refused("index", "empty", "--dry-run") == "There are no pictures in empty; it is empty."
    assert refused("index", "texts", "--dry-run") == "There are no pictures in texts; passed over: 1 .txt."


def test_a_folder_outside_the_image_root_is_refused(
    here: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEFLEET_IMAGE_ROOT", str(here / "pics"))

    assert "lies outside the image root" in refused("index", ".")
    assert "lies outside the image root" in refused("prune", "/etc")


def test_a_dry_run_counts_and_needs_no_broker(here: Path, imagefleet: Callable[..., Done]) -> None:
    (here / "pics" / "notes.txt").touch()

    code, printed, _ = imagefleet("index", "pics", "--dry-run")

    assert code == 0
    assert printed == "1 image, 0.0 MB in pics; nothing was queued.\nSkipped: 1 .txt.\n"


def test_a_dry_run_takes_lists_too(imagefleet: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a.jpg\0b\nc.jpg\0")))

    _, printed, _ = imagefleet("index", "--from-file", "-", "--null", "--dry-run")

    assert printed == "2 images, 0.0 MB in the list; nothing was queued.\n"


def test_models_are_listed_and_shown(imagefleet: Callable[..., Done]) -> None:
    assert imagefleet("models") == imagefleet("models", "list")
    assert MODEL in imagefleet("models")[1]
    assert '"fingerprint"' in imagefleet("models", "show", MODEL)[1]
    assert '"fingerprint"' in imagefleet("models", "list", "--json")[1]
