"""What `up` is to start, made of options, environment and memory; and every sentence that it may say instead."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.cores import usable_cores
from workers.local import redis_server
from workers.local.errors import CannotStart
from workers.local.folder import StateFolder
from workers.local.plan import Options, Plan, is_loopback, make

SPECIFICATION = """
name = "tiny"
title = "Never run here"
licence = "Apache-2.0"
source = "none"
file = "tiny.onnx"
sha256 = "{sha256}"
[input]
tensor = "x"
height = 8
width = 8
[preprocess]
resize = "exact"
[feature]
tensor = "y"
dimension = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateFolder:
    """A state folder with a model of its own; no variable but those that say so."""
    for name in [name for name in os.environ if name.startswith("IMAGEFLEET_")]:
        monkeypatch.delenv(name)
    made = StateFolder(tmp_path / "state")
    made.prepare()
    models = made.root / "models"
    models.mkdir()
    (models / "tiny.onnx").write_bytes(b"weights")
    (models / "tiny.toml").write_text(SPECIFICATION.format(sha256=hashlib.sha256(b"weights").hexdigest()))
    monkeypatch.setenv("IMAGEFLEET_STATE_DIR", str(made.root))
    return made


@pytest.fixture
def somebodys_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def plan(folder: StateFolder, **options: object) -> Plan:
    options.setdefault("models", ("tiny",))
    return make(Options(**options), folder)  # type: ignore[arg-type]


def test_everything_is_started_here_if_nothing_is_configured(folder: StateFolder) -> None:
    made = plan(folder)
    assert set(made.ports) == {"redis", "milvus", "flower"}
    assert made.settings.redis_url.get_secret_value() == redis_server.url(folder, made.ports["redis"])
    assert made.settings.milvus_uri == f"http://127.0.0.1:{made.ports['milvus']}"
    assert made.workers == usable_cores()


def test_what_is_configured_elsewhere_is_not_started(folder: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a Redis and a Milvus of the fleet
    monkeypatch.setenv("IMAGEFLEET_REDIS_URL", "redis://fleet:6379/1")
    monkeypatch.setenv("IMAGEFLEET_MILVUS_URI", "http://fleet:19530")
    # When a stack is planned
    made = plan(folder)
    # Then it has neither, and uses them
    assert (made.own_redis, made.own_milvus) == (False, False)
    assert made.settings.redis_url.get_secret_value() == "redis://fleet:6379/1"
    assert made.settings.milvus_uri == "http://fleet:19530"


def test_an_empty_variable_configures_nothing(folder: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEFLEET_REDIS_URL", "")
    assert plan(folder).own_redis


def test_root_and_models_of_the_last_time_are_kept(folder: StateFolder, tmp_path: Path) -> None:
    # Given what the last stack left
    folder.write_stack({"redis_url": "redis://gone:1/0", "image_root": str(tmp_path), "models": ["tiny"]})
    # When the next one is started without options
    made = make(Options(), folder)
    # Then images and models are those, and addresses are its own
    assert (made.settings.image_root, made.settings.models) == (tmp_path, ("tiny",))
    assert "gone" not in made.settings.redis_url.get_secret_value()


def test_options_win_over_memory_and_environment(
    folder: StateFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write_stack({"image_root": "/nowhere"})
    monkeypatch.setenv("IMAGEFLEET_IMAGE_ROOT", "/nowhere/else")
    assert plan(folder, root=tmp_path).settings.image_root == tmp_path


def test_addresses_stay_the_same_unless_somebody_took_the_port(folder: StateFolder, somebodys_port: int) -> None:
    # Given ports of the last time, one of them now somebody else's
    ports = plan(folder).ports
    folder.remember_ports({**ports, "redis": somebodys_port})
    # When the next one is planned
    again = plan(folder).ports
    # Then only that one changes
    assert again["milvus"] == ports["milvus"]
    assert again["redis"] != somebodys_port


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"workers": 0}, "0 workers cannot be started"),
        ({"workers": 100_000}, "--workers takes 1 to"),
        ({"models": ("nope",)}, "There is no model 'nope'"),
        ({"models": ("Not A Name",)}, "IMAGEFLEET_MODELS is wrong"),
        ({"root": Path("/no/such/folder")}, "/no/such/folder is no folder; name one with --root"),
    ],
)
def test_wrong_options_are_one_sentence(folder: StateFolder, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(CannotStart, match=sentence):
        plan(folder, **options)


def test_missing_weights_are_one_sentence(folder: StateFolder) -> None:
    (folder.root / "models" / "tiny.onnx").unlink()
    with pytest.raises(CannotStart, match=r"needs tiny\.onnx"):
        plan(folder)


def test_weights_of_another_model_are_one_sentence(folder: StateFolder) -> None:
    (folder.root / "models" / "tiny.onnx").write_bytes(b"other weights")
    with pytest.raises(CannotStart, match="sha256"):
        plan(folder)


def test_a_port_that_was_asked_for_must_be_free(folder: StateFolder, somebodys_port: int) -> None:
    with pytest.raises(CannotStart, match=f"Port {somebodys_port} on 127.0.0.1 is in use; name another"):
        plan(folder, flower_port=somebodys_port)


def test_a_port_that_nobody_asked_for_gives_way(folder: StateFolder, somebodys_port: int) -> None:
    folder.write_stack({"flower_port": somebodys_port})
    assert plan(folder).settings.flower_port not in (0, somebodys_port)


def test_flower_asks_for_a_password_where_others_reach_it(folder: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEFLEET_FLOWER_ADDRESS", "0.0.0.0")  # noqa: S104
    with pytest.raises(CannotStart, match="set IMAGEFLEET_FLOWER_AUTH"):
        plan(folder)
    monkeypatch.setenv("IMAGEFLEET_FLOWER_AUTH", "only-a-name")
    with pytest.raises(CannotStart, match="user:password"):
        plan(folder)
    monkeypatch.setenv("IMAGEFLEET_FLOWER_AUTH", "user:secret")
    assert plan(folder).flower_url.startswith("http://0.0.0.0:")


@pytest.mark.parametrize(
    ("address", "answer"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True)]
    + [(address, False) for address in ("0.0.0.0", "::", "192.168.1.2", "my-laptop", "")],  # noqa: S104
)
def test_what_only_this_machine_reaches(address: str, answer: bool) -> None:
    assert is_loopback(address) is answer
