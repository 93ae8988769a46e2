"""A job is remembered for some days after its last change; then nothing of it is left in Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from workers.contract import BatchMessage, Failure, Image
from workers.job_state import JobSpec
from workers.leases import Leases
from workers.ledger import Ledger, connect

IMAGES = [Image(f"{number}.jpg", 1, 1) for number in range(4)]
KEEP = 3 * 86_400


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    client = connect(redis_url)
    yield client
    client.close()


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    return Ledger(redis, keep=KEEP, patience=0)


@pytest.fixture
def job(ledger: Ledger) -> str:
    return ledger.create_job(JobSpec("images", "colour", ("",)))


def queued(ledger: Ledger, job: str) -> BatchMessage:
    number = ledger.open_batch(job, IMAGES)
    assert number is not None
    return BatchMessage(job=job, batch=number, count=len(IMAGES))


def lifetimes(redis: Redis, job: str) -> dict[str, int]:
    """Seconds that each key of the job has left; -1 for no end."""
    return {key.decode(): redis.ttl(key) for key in redis.scan_iter(f"imagefleet:job:{job}*")}


def as_if_a_day_had_gone_by(redis: Redis, job: str) -> None:
    for key, left in lifetimes(redis, job).items():
        if left > 0:
            redis.expire(key, left - 86_400)


def test_every_key_of_a_finished_job_has_an_end(redis: Redis, ledger: Ledger, job: str) -> None:
    message = queued(ledger, job)
    Leases(redis, "a").commit(message, 3, 0, [Failure(path="0.jpg", kind="unreadable", reason="cut short")])
    ledger.close_walk(job, {})

    left = lifetimes(redis, job)

    assert set(left) == {f"imagefleet:job:{job}{part}" for part in ("", ":done", ":failures")}
    assert all(KEEP - 60 < seconds <= KEEP for seconds in left.values()), left


def test_each_change_begins_the_days_anew(redis: Redis, ledger: Ledger, job: str) -> None:
    message = queued(ledger, job)
    as_if_a_day_had_gone_by(redis, job)
    assert max(lifetimes(redis, job).values()) <= KEEP - 86_400

    Leases(redis, "a").commit(message, 4, 0, [])

    assert min(lifetimes(redis, job).values()) > KEEP - 60


def test_a_job_is_not_forgotten_while_its_producer_lives(redis: Redis, ledger: Ledger, job: str) -> None:
    queued(ledger, job)
    as_if_a_day_had_gone_by(redis, job)
    ledger.touch(job)
    assert redis.ttl(f"imagefleet:job:{job}") > KEEP - 60


def test_what_a_split_adds_has_an_end_too(redis: Redis, ledger: Ledger, job: str) -> None:
    Leases(redis, "a").split(queued(ledger, job), IMAGES)
    assert redis.ttl(f"imagefleet:job:{job}:done") > 0


def test_batches_of_a_forgotten_job_are_swept_away_and_hold_up_nobody(redis: Redis, ledger: Ledger, job: str) -> None:
    message, leases = queued(ledger, job), Leases(redis, "a")
    leases.begin(message, redelivered=False)
    redis.delete(f"imagefleet:job:{job}")  # its time is over

    assert not leases.commit(message, 4, 0, [])
    leases.release(message, count_attempt=False)
    assert leases.revive() == [], "there is no job to work for"

    assert ledger.job(job) is None
    assert ledger.jobs() == []
    left = {key.decode() for key in redis.keys("imagefleet:*")}
    assert left == set(), left


def test_a_forgotten_job_does_not_come_back_by_a_late_word_of_its_producer(
    redis: Redis, ledger: Ledger, job: str
) -> None:
    redis.delete(f"imagefleet:job:{job}")
    ledger.touch(job)
    ledger.close_walk(job, {})
    assert ledger.open_batch(job, IMAGES) is None
    assert ledger.find_jobs(job) == []
    assert redis.keys("imagefleet:job:*") == []


def test_the_days_are_a_setting(redis_url: str) -> None:
    from workers.settings import Settings

    ledger = Ledger.from_settings(Settings(redis_url=redis_url, job_days=2))
    job = ledger.create_job(JobSpec("images", "colour", ("",)))
    with connect(redis_url) as redis:
        assert 2 * 86_400 - 60 < redis.ttl(f"imagefleet:job:{job}") <= 2 * 86_400
    ledger.close()
