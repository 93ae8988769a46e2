"""Worker processes tell of themselves in a real Redis, and `imagefleet workers` lists them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis

from models.providers import CPU, CUDA
from producer.cli import run
from tests.services import free_port
from tests.waiting import wait_until
from workers import presence
from workers.clocks import STAGES, Clocks
from workers.ledger import connect
from workers.presence import Presence, Report, Reporter

ME = Report("host", 7, ["colour", "gradient"], CPU, 0, 0.0, 0.0, None, {})


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    client = connect(redis_url)
    yield client
    client.close()


@pytest.fixture
def imagefleet(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    monkeypatch.setenv("IMAGEFLEET_REDIS_URL", redis_url)
    monkeypatch.setenv("IMAGEFLEET_STATE_DIR", str(tmp_path))

    def call(*args: str) -> str:
        assert run(args) == 0
        return capsys.readouterr().out

    return call


def test_a_process_is_there_while_it_lives(redis: Redis) -> None:
    clocks = Clocks()
    reporter = Reporter(Presence(redis), "host:7:abc", ME, clocks, lambda report: "")
    clocks.count(images=8, pictures=6, places=8)
    reporter.start()
    (found,) = wait_until(Presence(redis).living, 10.0, "a word of the process")
    assert (found.host, found.pid, found.models, found.provider) == ("host", 7, ["colour", "gradient"], CPU)
    assert found.fill == 0.75
    assert set(found.shares) == set(STAGES)
    assert 0 < redis.ttl("imagefleet:worker:host:7:abc") <= presence.BELIEVED

    reporter.close()
    assert Presence(redis).living() == []
    assert redis.keys("imagefleet:worker*") == []


def test_one_that_died_without_a_word_is_forgotten(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    Presence(redis).tell("live", replace(ME, pid=1))
    monkeypatch.setattr(presence, "BELIEVED", 1)
    Presence(redis).tell("dead", replace(ME, pid=2))
    wait_until(lambda: len(Presence(redis).living()) == 1, 20.0, "the end of the belief")
    assert redis.zrange("imagefleet:workers", 0, -1) == [b"live"]


def test_what_another_version_tells_is_passed_over(redis: Redis) -> None:
    Presence(redis).tell("a", ME)
    redis.set("imagefleet:worker:a", json.dumps({"speed": 3}))
    assert Presence(redis).living() == []


def test_a_redis_that_is_away_harms_no_worker() -> None:
    away = connect(f"redis://127.0.0.1:{free_port()}/0")
    reporter = Reporter(Presence(away), "a", ME, Clocks(), lambda report: "")
    reporter.start()
    reporter.close()
    assert not reporter.is_alive()


def test_the_log_says_what_was_done_and_is_silent_about_nothing(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    clocks = Clocks()
    reporter = Reporter(Presence(redis), "a", ME, clocks, lambda report: f"{report.fill:.0%} full")
    with caplog.at_level(logging.INFO, logger="workers.presence"):
        reporter.log()
        assert caplog.messages == []
        clocks.count(images=8, pictures=4, places=8)
        reporter.log()
        reporter.log()
    assert caplog.messages == ["50% full"]


def test_workers_are_listed_with_advice(redis: Redis, imagefleet: Callable[..., str]) -> None:
    shares = dict.fromkeys(STAGES, 0.0) | {"decode": 0.6, "session": 0.4}
    gpu = Report("gpu-1", 12, ["mobilenetv2"], CUDA, 4, 60.0, 812.25, 0.97, shares)  # type: ignore[arg-type]
    idle = Report("cpu-1", 3, ["colour"], CPU, 0, 60.0, 0.0, None, {**dict.fromkeys(STAGES, 0.0), "queue": 1.0})
    for name, one in {"a": gpu, "b": idle}.items():
        Presence(redis).tell(name, one)

    head, first, second, empty, advised = imagefleet("workers").splitlines()
    assert head.split() == ["worker", "models", "provider", "images/s", "fill", *STAGES]
    assert first.split() == ["cpu-1:3", "colour", "CPU", "0.0", "0%", "0%", "0%", "0%", "100%"]
    assert second.split() == ["gpu-1:12", "mobilenetv2", "CUDA", "812.2", "97%", "60%", "40%", "0%", "0%", "0%"]
    assert empty == ""
    assert advised.startswith("gpu-1:12: The session waits 60% of the time for decoding")

    documents = json.loads(imagefleet("workers", "--json"))
    assert [item["pid"] for item in documents] == [3, 12]
    assert documents[0]["advice"] is None
    assert "DECODE_THREADS" in documents[1]["advice"]


def test_nobody_is_a_sentence(redis: Redis, imagefleet: Callable[..., str]) -> None:
    assert imagefleet("workers").startswith("Nobody works here; start workers with `imagefleet up`")
    assert json.loads(imagefleet("workers", "--json")) == []
