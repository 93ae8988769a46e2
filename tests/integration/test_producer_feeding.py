"""Feeding and following jobs on a real Redis: bounded, closed whatever happens, patient, and seen."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest
import redis

from producer import board as board_module
from producer import feeding
from producer.board import Board, left_behind
from producer.client import Client, over
from producer.connection import ledger_errors
from producer.errors import BrokerUnavailable, NotFinished, NothingFound, UnknownJob, WrongValue
from producer.feeding import Feeder
from producer.progress import Reading
from producer.sources import Source
from tests.waiting import wait_until
from workers.contract import BatchMessage, Image
from workers.job_state import JobSpec, JobState
from workers.leases import Leases
from workers.ledger import Ledger, LedgerUnavailable
from workers.settings import Settings

SPECS = [JobSpec("images", "one", ("pics",)), JobSpec("images", "two", ("pics",))]


class Sent(list[tuple[str, BatchMessage]]):
    """A queue that keeps what it is given."""

    def __call__(self, model: str, message: BatchMessage) -> None:
        self.append((model, message))


@pytest.fixture
def connection(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as connection:
        yield connection


@pytest.fixture
def ledger(connection: redis.Redis) -> Ledger:
    return Ledger(connection)


@pytest.fixture
def leases(connection: redis.Redis) -> Leases:
    return Leases(connection, "somebody")


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(redis_url=redis_url, image_root=tmp_path, batch_size=16, max_open_batches=3)


@pytest.fixture
def feeder(ledger: Ledger, sent: Sent, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Feeder:
    monkeypatch.setattr(feeding, "ROOM_CHECK", 0.01)
    monkeypatch.setattr(feeding, "RETRY_PAUSE", 0.01)
    return Feeder(ledger, sent, settings)


def images(number: int) -> Source:
    return Source((Image(f"{n}.jpg", 1, 1) for n in range(number)), ("pics",), "pics")


def finish(leases: Leases, message: BatchMessage) -> None:
    leases.begin(message, redelivered=False)
    leases.commit(message, message.count, 0, [])


def state(ledger: Ledger, job: str) -> JobState:
    found = ledger.job(job)
    assert found is not None
    return found


def test_one_walk_feeds_a_job_for_each_model(feeder: Feeder, ledger: Ledger, sent: Sent) -> None:
    heard: list[Sequence[str]] = []

    jobs = feeder.feed(images(40), SPECS, heard.append)

    assert [(model, message.batch, message.count) for model, message in sent] == [
        ("one", 0, 16), ("two", 0, 16), ("one", 1, 16), ("two", 1, 16), ("one", 2, 8), ("two", 2, 8),
    ]  # fmt: skip
    assert [list(ids) for ids in heard] == [jobs]
    for job, spec in zip(jobs, SPECS, strict=True):
        found = state(ledger, job)
        assert (found.model, found.queued, found.batches) == (spec.model, 40, 3)
        assert (found.walked, found.phase) == (True, "running")


def test_what_was_passed_over_is_kept_with_the_job(feeder: Feeder, ledger: Ledger) -> None:
    source = images(1)
    source.skipped.count(".txt")

    (job,) = feeder.feed(source, SPECS[:1])

    assert state(ledger, job).skipped == {".txt": 1}


def test_without_an_image_there_is_no_job(feeder: Feeder, ledger: Ledger) -> None:
    with pytest.raises(NothingFound):
        feeder.feed(images(0), SPECS)

    assert ledger.jobs() == []


def test_the_producer_waits_while_too_many_batches_are_open(
    feeder: Feeder, ledger: Ledger, leases: Leases, sent: Sent
) -> None:
    thread = threading.Thread(target=feeder.feed, args=(images(16 * 10), SPECS[:1]))
    thread.start()
    try:
        wait_until(lambda: len(sent) == 3, 5, "three batches")
        job = sent[0][1].job
        for done in range(10):
            wait_until(lambda done=done: len(sent) > done, 5, "room for the next batch")
            assert ledger.open_batches(job) <= 3
            finish(leases, sent[done][1])
    finally:
        thread.join(10)
    assert state(ledger, job).phase == "finished"


def test_a_cancelled_job_ends_the_walk(feeder: Feeder, ledger: Ledger, sent: Sent) -> None:
    def forever() -> Iterator[Image]:
        for number in count():
            if number == 32:
                ledger.cancel(sent[0][1].job)
            yield Image(f"{number}.jpg", 1, 1)

    (job,) = feeder.feed(Source(forever(), (), ""), SPECS[:1])

    assert len(sent) == 2
    assert over(state(ledger, job))


def test_the_other_job_goes_on_when_one_is_cancelled(feeder: Feeder, ledger: Ledger, sent: Sent) -> None:
    jobs = feeder.feed(images(48), SPECS, lambda ids: ledger.cancel(ids[0]) and None)

    assert [model for model, _ in sent] == ["two"] * 3
    assert [state(ledger, job).queued for job in jobs] == [0, 48]


def test_ctrl_c_closes_the_jobs_as_interrupted(feeder: Feeder, ledger: Ledger, sent: Sent) -> None:
    def interrupted() -> Iterator[Image]:
        yield from images(20)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        feeder.feed(Source(interrupted(), (), ""), SPECS[:1])

    found = state(ledger, sent[0][1].job)
    assert (found.queued, found.walked, found.interrupted) == (16, True, True)


class Shaky(Ledger):
    """A ledger whose Redis is away for some calls."""

    away = 0

    def open_batch(self, job: str, images: Sequence[Image], ticket: str = "") -> int | None:
        if self.away:
            self.away -= 1
            raise LedgerUnavailable("Redis is away.")
        return super().open_batch(job, images, ticket)


def test_a_short_outage_is_waited_out(
    connection: redis.Redis, sent: Sent, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "RETRY_PAUSE", 0.01)
    ledger = Shaky(connection)
    ledger.away = 5

    (job,) = Feeder(ledger, sent, settings).feed(images(20), SPECS[:1])

    assert state(ledger, job).queued == 20
    assert [message.count for _, message in sent] == [16, 4]


def test_an_outage_without_end_is_told(
    connection: redis.Redis, sent: Sent, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "RETRY_PAUSE", 0.01)
    monkeypatch.setattr(feeding, "PATIENCE", 0.1)
    ledger = Shaky(connection)
    ledger.away = 10**9

    with pytest.raises(LedgerUnavailable):
        Feeder(ledger, sent, settings).feed(images(20), SPECS[:1])

    assert ledger.jobs()[0].interrupted


def test_a_slow_walk_gives_signs_of_life(
    feeder: Feeder, ledger: Ledger, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "HEARTBEAT", 0.02)

    def slow() -> Iterator[Image]:
        yield from images(16)
        job = sent[0][1].job
        seen = state(ledger, job).producer_seen
        wait_until(lambda: state(ledger, job).producer_seen > seen, 5, "a sign of life")
        yield Image("last.jpg", 1, 1)

    feeder.feed(Source(slow(), (), ""), SPECS[:1])


class Drawn:
    """A face that keeps what it is shown."""

    def __init__(self) -> None:
        self.readings: list[Sequence[Reading]] = []
        self.closed = False

    def draw(self, readings: Sequence[Reading]) -> None:
        self.readings.append(readings)

    def close(self) -> None:
        self.closed = True


def test_the_board_shows_jobs_until_they_are_over(feeder: Feeder, ledger: Ledger, leases: Leases, sent: Sent) -> None:
    drawn = Drawn()
    with Board(ledger, lambda queue: 1, drawn) as board:
        feeder.feed(images(20), SPECS[:1], board.follow)
        wait_until(lambda: drawn.readings, 5, "a first look")
        for _, message in sent:
            finish(leases, message)
        board.until_over()

    assert drawn.closed
    assert drawn.readings[-1][0].count == "20/20"


def test_the_board_says_when_nobody_listens(feeder: Feeder, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "STILL", 0.0)
    drawn = Drawn()
    with Board(ledger, lambda queue: 0, drawn) as board:
        feeder.feed(images(20), SPECS[:1], board.follow)
        reading = wait_until(lambda: drawn.readings and drawn.readings[-1][0].note, 5, "a note")

    assert reading == "no worker listens on index.one; start one with `imagefleet up`"


def test_the_board_shows_what_workers_wait_for(feeder: Feeder, ledger: Ledger) -> None:
    ledger.report_waiting("Milvus does not answer", 60)
    drawn = Drawn()
    with Board(ledger, lambda queue: 1, drawn) as board:
        feeder.feed(images(20), SPECS[:1], board.follow)
        wait_until(lambda: drawn.readings and drawn.readings[-1][0].note == "Milvus does not answer", 5, "the note")


def test_the_board_gives_up_on_a_job_that_is_forgotten(feeder: Feeder, ledger: Ledger, connection: redis.Redis) -> None:
    with Board(ledger, lambda queue: 1, Drawn()) as board:
        feeder.feed(images(20), SPECS[:1], board.follow)
        connection.flushall()
        with pytest.raises(UnknownJob):
            board.until_over()


@pytest.fixture
def client(settings: Settings) -> Client:
    return Client(settings)


def test_a_job_is_found_by_the_beginning_of_its_id(client: Client, ledger: Ledger) -> None:
    job = ledger.create_job(SPECS[0])

    assert client.status(job[:4]).id == job
    assert client.find(f" {job.upper()} ") == job


def test_an_unknown_or_ambiguous_job_is_an_error(client: Client, ledger: Ledger) -> None:
    with pytest.raises(UnknownJob, match="imagefleet jobs"):
        client.status("nothing")
    with pytest.raises(UnknownJob):
        client.status("")
    first = [ledger.create_job(SPECS[0])[0] for _ in range(17)]  # one of 16 digits comes twice
    twice = next(digit for digit in first if first.count(digit) > 1)
    with pytest.raises(UnknownJob, match=f"Several jobs begin with {twice}"):
        client.status(twice)


def test_waiting_has_a_deadline(client: Client, ledger: Ledger, leases: Leases) -> None:
    job = ledger.create_job(SPECS[0])
    number = ledger.open_batch(job, [Image("1.jpg", 1, 1)])
    assert number is not None
    ledger.close_walk(job, {})

    with pytest.raises(NotFinished, match="it goes on"):
        client.wait(job, timeout=0)
    finish(leases, BatchMessage(job=job, batch=number, count=1))
    assert client.wait(job, timeout=0).indexed == 1


def test_retrying_a_job_without_failures_is_an_error(client: Client, ledger: Ledger) -> None:
    job = ledger.create_job(SPECS[0])

    with pytest.raises(NothingFound, match="nothing to retry"):
        client.retry(job)


def test_limits_are_checked(client: Client) -> None:
    for limit in (0, 10**6):
        with pytest.raises(WrongValue, match="limit is"):
            client.search("x.jpg", limit=limit)


def test_a_full_redis_is_told_from_one_that_is_away(client: Client, connection: redis.Redis) -> None:
    connection.config_set("maxmemory", 1)
    try:
        with pytest.raises(BrokerUnavailable, match="Redis is full"):
            client.broker.send_batch("one", BatchMessage(job="0" * 12, batch=0, count=1))
        with pytest.raises(BrokerUnavailable, match="Redis is full"), ledger_errors():
            client.ledger.create_job(SPECS[0])
    finally:
        connection.config_set("maxmemory", 0)


def test_what_is_left_behind_is_said(ledger: Ledger) -> None:
    job = ledger.create_job(SPECS[0])
    ledger.open_batch(job, [Image("1.jpg", 1, 1)])
    states = [state(ledger, job)]

    assert "nothing is queued" in left_behind([], walking=True)
    assert f"imagefleet status {job} --watch" in left_behind(states, walking=False)
    assert "1 image is queued" in left_behind(states, walking=True)
    assert "Run the same command again" in left_behind(states, walking=True)


def test_a_face_that_breaks_ends_the_wait(feeder: Feeder, ledger: Ledger) -> None:
    class Broken(Drawn):
        def draw(self, readings: Sequence[Reading]) -> None:
            raise BrokenPipeError

    with Board(ledger, lambda queue: 1, Broken()) as board:
        feeder.feed(images(20), SPECS[:1], board.follow)
        with pytest.raises(BrokenPipeError):
            board.until_over()
