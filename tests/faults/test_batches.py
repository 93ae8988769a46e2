"""What must not use up the attempts of a batch, nor hold up others: answers that got lost, entries that are broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from models.errors import InferenceFailed
from workers import batch
from workers.batch import Context, Waiter
from workers.contract import BatchMessage, Image
from workers.leases import Begun, Leases
from workers.ledger import JobSpec, Ledger, LedgerUnavailable, connect
from workers.pipeline import BatchResult

IMAGES = [Image(f"{n}.png", n, n) for n in range(8)]


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with connect(redis_url) as client:
        yield client


def queued(redis: Redis) -> BatchMessage:
    ledger = Ledger(redis, patience=0)
    job = ledger.create_job(JobSpec("images", "colour", ("",)))
    number = ledger.open_batch(job, IMAGES)
    assert number is not None
    return BatchMessage(job=job, batch=number, count=len(IMAGES))


def begun(leases: Leases, message: BatchMessage) -> Begun:
    found = leases.begin(message, redelivered=True)
    assert isinstance(found, Begun)
    return found


def test_beginning_again_because_the_answer_got_lost_is_no_second_attempt(redis: Redis) -> None:
    message, leases = queued(redis), Leases(redis, "a")
    assert [begun(leases, message).attempt for _ in range(5)] == [1] * 5
    assert begun(Leases(redis, "b"), message).attempt == 2


def test_a_half_is_split_at_the_next_failure_and_an_image_alone_gets_all_its_attempts(redis: Redis) -> None:
    message, leases = queued(redis), Leases(redis, "a")
    half, _ = leases.split(message, IMAGES, attempts=2)
    assert begun(leases, half).attempt == 3
    pair = leases.split(half, IMAGES[:2], attempts=2)
    assert [begun(leases, single).attempt for single in pair] == [1, 1]


def test_a_broken_entry_does_not_hold_up_the_others(redis: Redis) -> None:
    broken, whole = queued(redis), queued(redis)
    redis.hset(f"imagefleet:job:{broken.job}:batch:0", "count", 10**6)
    redis.zadd("imagefleet:leases", {b"\xff": 0})
    assert [item.message for item in Leases(redis, "r").revive()] == [whole]


def test_a_lease_that_ends_in_an_hour_is_one_from_before_the_clock_was_set_back(redis: Redis) -> None:
    message = queued(redis)
    redis.zadd("imagefleet:leases", {f"{message.job}:0": 4e9})
    reconciler = Leases(redis, "r", seconds=0)
    reconciler.revive()  # believes in it no longer than in a fresh one
    assert [item.message for item in reconciler.revive()] == [message]


class Run:
    """One delivery of a batch, with a sound session or not."""

    def __init__(self, redis: Redis, *, sound: bool = True) -> None:
        self.redis = redis
        self.message = queued(redis)
        self.ended = False
        self.sound = sound
        self.recovers_after: int | None = None
        self.renewals: list[Exception | None] = []

    def __call__(self, work: Callable[[Begun, Waiter, Callable[[], None]], BatchResult]) -> str:
        leases = Leases(self.redis, "a")
        renew = leases.renew

        def flicker(message: BatchMessage) -> bool:
            if self.renewals and (error := self.renewals.pop()):
                raise error
            return renew(message)

        leases.renew = flicker  # type: ignore[method-assign]
        context = Context(
            leases, Ledger(self.redis), work, lambda *_: None, 2, 5.0, is_sound=self._is_sound, end=self._end
        )
        return batch.run(self.message, context, redelivered=False)

    def _is_sound(self, model: str) -> bool:
        if self.recovers_after is not None:
            self.recovers_after -= 1
            return self.recovers_after < 0
        return self.sound

    @property
    def waiting(self) -> str | None:
        state = Ledger(self.redis).job(self.message.job)
        return state and state.waiting

    def _end(self) -> None:
        self.ended = True

    @property
    def attempts(self) -> int:
        return int(self.redis.hget(f"imagefleet:job:{self.message.job}:batch:0", "attempts") or 0)  # type: ignore[arg-type]


def test_a_redis_that_is_away_for_a_sign_of_life_is_waited_for(redis: Redis) -> None:
    run = Run(redis)
    run.renewals = [LedgerUnavailable("Away.")]

    def work(begun: Begun, waiter: Waiter, beat: Callable[[], None]) -> BatchResult:
        beat()
        return BatchResult(indexed=len(begun.images))

    assert run(work) == "8 indexed, 0 unchanged, 0 failed"


@pytest.mark.parametrize(("sound", "attempts"), [(True, 1), (False, 0)])
def test_a_device_that_fails_on_a_good_picture_ends_its_process_and_fails_no_image(
    redis: Redis, sound: bool, attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "FIRST_PAUSE", 0.0)
    run = Run(redis, sound=sound)
    assert "given back" in run(out_of_memory)
    assert (run.ended, run.attempts) == (not sound, attempts)
    assert ("The device fails" in (run.waiting or "")) == (not sound)


def test_a_device_that_recovers_is_waited_for_and_its_process_goes_on(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "FIRST_PAUSE", 0.0)
    run = Run(redis, sound=False)
    run.recovers_after = 3
    assert "given back" in run(out_of_memory)
    assert (run.ended, run.attempts) == (False, 0)


def out_of_memory(begun: Begun, waiter: Waiter, beat: Callable[[], None]) -> BatchResult:
    raise InferenceFailed("Out of memory.")
