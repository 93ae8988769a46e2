"""Jobs and leases on a real Redis: what is counted is counted once, and what is lost is found."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from tests.services import free_port
from tests.waiting import wait_until
from workers.contract import BatchMessage, Failure, Image, index_queue
from workers.job_state import JobSpec
from workers.leases import Begun, Leases
from workers.ledger import Ledger, LedgerUnavailable, connect

IMAGES = [Image(f"holiday/{n:03}.jpg", 1000 + n, 1_700_000_000_000_000_000 + n) for n in range(8)]


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    client = connect(redis_url)
    yield client
    client.close()


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    return Ledger(redis, patience=0)


@pytest.fixture
def job(ledger: Ledger) -> str:
    return ledger.create_job(JobSpec(library="images", model="colour", folders=("holiday",)))


def leases(redis: Redis, holder: str, seconds: int = 30) -> Leases:
    return Leases(redis, holder, seconds=seconds)


def queued(ledger: Ledger, job: str, images: list[Image] = IMAGES) -> BatchMessage:
    number = ledger.open_batch(job, images)
    assert number is not None
    return BatchMessage(job=job, batch=number, count=len(images))


def test_a_job_is_finished_when_all_that_was_queued_is_accounted_for(redis: Redis, ledger: Ledger, job: str) -> None:
    message = queued(ledger, job)
    worker = leases(redis, "a")
    begun = worker.begin(message, redelivered=False)
    assert isinstance(begun, Begun)
    assert (begun.library, begun.model, begun.images, begun.attempt) == ("images", "colour", IMAGES, 1)

    failure = Failure(path=IMAGES[0].path, kind="unreadable", reason="cut short")
    assert worker.commit(message, 5, 2, [failure])
    before = ledger.job(job)
    ledger.close_walk(job, {"hidden": 3})
    after = ledger.job(job)

    assert before is not None
    assert before.finished is None, "the producer may queue more"
    assert before.phase == "queueing"
    assert after is not None
    assert after.phase == "finished"
    assert (after.queued, after.done, after.indexed, after.unchanged, after.failed) == (8, 8, 5, 2, 1)
    assert after.skipped == {"hidden": 3}
    assert after.open_batches == 0
    assert list(ledger.failures(job)) == [failure]


def test_a_batch_committed_fifty_times_at_once_counts_once(redis: Redis, ledger: Ledger, job: str) -> None:
    message = queued(ledger, job)
    with ThreadPoolExecutor(10) as pool:
        firsts = sum(pool.map(lambda n: leases(redis, str(n)).commit(message, 8, 0, []), range(50)))
    state = ledger.job(job)
    assert firsts == 1
    assert state is not None
    assert (state.indexed, state.open_batches) == (8, 0)


def test_opening_a_batch_again_with_its_ticket_counts_it_once(ledger: Ledger, job: str) -> None:
    first = ledger.open_batch(job, IMAGES, "ticket")
    again = ledger.open_batch(job, IMAGES, "ticket")
    other = ledger.open_batch(job, IMAGES, "another")
    state = ledger.job(job)
    assert first == again != other
    assert state is not None
    assert (state.queued, state.batches, state.open_batches) == (16, 2, 2)


def test_a_second_delivery_is_refused_while_the_first_holder_lives(redis: Redis, ledger: Ledger, job: str) -> None:
    message = queued(ledger, job)
    leases(redis, "a").begin(message, redelivered=False)
    assert leases(redis, "b").begin(message, redelivered=False) == "held"


def test_a_message_that_the_broker_gave_back_is_taken_over_and_its_former_holder_loses_it(
    redis: Redis, ledger: Ledger, job: str
) -> None:
    message = queued(ledger, job)
    former, successor = leases(redis, "a"), leases(redis, "b")
    former.begin(message, redelivered=False)
    begun = successor.begin(message, redelivered=True)
    assert isinstance(begun, Begun)
    assert begun.attempt == 2
    assert not former.renew(message)
    assert successor.renew(message)


def test_a_delivery_after_the_commit_finds_nothing_to_do(redis: Redis, ledger: Ledger, job: str) -> None:
    message = queued(ledger, job)
    worker = leases(redis, "a")
    worker.begin(message, redelivered=False)
    worker.commit(message, 8, 0, [])
    assert worker.begin(message, redelivered=True) == "gone"


def test_a_message_for_a_job_that_is_forgotten_finds_nothing_to_do(redis: Redis) -> None:
    assert leases(redis, "a").begin(BatchMessage(job="0" * 12, batch=0, count=1), redelivered=False) == "gone"


def test_a_lease_that_lapses_is_revived_once(redis: Redis, ledger: Ledger, job: str) -> None:
    message = queued(ledger, job)
    dead = leases(redis, "a", seconds=1)
    dead.begin(message, redelivered=False)
    reconciler = leases(redis, "r")
    revived = wait_until(reconciler.revive, 5, "the lease lapsing")
    assert [(item.model, item.message) for item in revived] == [("colour", message)]
    assert reconciler.revive() == []
    assert isinstance(leases(redis, "b").begin(message, redelivered=False), Begun)


def test_a_renewed_lease_does_not_lapse(redis: Redis, ledger: Ledger, job: str) -> None:
    message = queued(ledger, job)
    worker = leases(redis, "a", seconds=1)
    worker.begin(message, redelivered=False)
    assert leases(redis, "a", seconds=60).renew(message)
    deadline = redis.zscore("imagefleet:leases", f"{job}:{message.batch}")
    assert isinstance(deadline, float)
    assert deadline - float(redis.time()[0]) > 50


def test_a_queued_batch_is_not_sent_again_while_its_queue_holds_messages(
    redis: Redis, ledger: Ledger, job: str
) -> None:
    queued(ledger, job)  # patience 0: overdue at once
    redis.lpush(index_queue("colour"), "a message")
    assert leases(redis, "r").revive() == []


def test_a_queued_batch_whose_message_vanished_is_sent_again(redis: Redis, ledger: Ledger, job: str) -> None:
    message = queued(ledger, job)
    assert [item.message for item in leases(redis, "r").revive()] == [message]


def test_a_released_batch_is_due_at_once_and_its_attempt_does_not_count(redis: Redis, ledger: Ledger, job: str) -> None:
    message = queued(ledger, job)
    worker = leases(redis, "a")
    worker.begin(message, redelivered=False)
    worker.release(message, count_attempt=False)
    assert [item.message for item in leases(redis, "r").revive()] == [message]
    begun = worker.begin(message, redelivered=False)
    assert isinstance(begun, Begun)
    assert begun.attempt == 1


def test_halves_take_the_place_of_a_split_batch(redis: Redis, ledger: Ledger, job: str) -> None:
    message = queued(ledger, job)
    worker = leases(redis, "a")
    halves = worker.split(message, IMAGES)
    begun = [worker.begin(half, redelivered=False) for half in halves]
    assert [half.count for half in halves] == [4, 4]
    assert [image for item in begun if isinstance(item, Begun) for image in item.images] == IMAGES
    assert worker.split(message, IMAGES) == [], "the whole is accounted for"
    state = ledger.job(job)
    assert state is not None
    assert (state.queued, state.open_batches) == (8, 2)


def test_cancel_ends_what_is_queued_and_leaves_what_is_in_work(redis: Redis, ledger: Ledger, job: str) -> None:
    in_work, waiting = queued(ledger, job), queued(ledger, job)
    worker = leases(redis, "a")
    worker.begin(in_work, redelivered=False)
    ledger.close_walk(job, {})

    assert ledger.cancel(job)
    assert worker.begin(waiting, redelivered=False) == "gone"
    assert worker.commit(in_work, 8, 0, [])
    assert ledger.open_batch(job, IMAGES) is None

    state = ledger.job(job)
    assert state is not None
    assert (state.phase, state.indexed, state.cancelled, state.done) == ("cancelled", 8, 8, 16)
    assert state.finished is not None
    assert not ledger.cancel(job), "there is nothing left to cancel"


def test_file_names_that_are_no_text_come_back_as_they_were(redis: Redis, ledger: Ledger, job: str) -> None:
    odd = [Image("a\udcff\n\"'\\.jpg", 1, 1), Image("ü/😀.png", 2, 2)]
    message = queued(ledger, job, odd)
    worker = leases(redis, "a")
    begun = worker.begin(message, redelivered=False)
    assert isinstance(begun, Begun)
    assert begun.images == odd
    worker.commit(message, 1, 0, [Failure(path=odd[0].path, kind="not_found", reason="gone")])
    assert [failure.path for failure in ledger.failures(job)] == [odd[0].path]


def test_one_reconciler_leads_at_a_time(redis: Redis) -> None:
    assert leases(redis, "a").lead(10)
    assert leases(redis, "a").lead(10)
    assert not leases(redis, "b").lead(10)


def test_what_workers_wait_for_is_shown_with_unfinished_jobs(ledger: Ledger, job: str) -> None:
    ledger.report_waiting("Milvus does not answer", 30)
    state = ledger.job(job)
    assert state is not None
    assert state.waiting == "Milvus does not answer"


def test_jobs_are_found_by_the_beginning_of_their_id(ledger: Ledger, job: str) -> None:
    other = ledger.create_job(JobSpec(library="images", model="gradient", folders=("holiday",)))
    assert ledger.find_jobs(job[:8]) == [job]
    assert [state.id for state in ledger.jobs()] == [other, job]


def test_a_redis_that_is_not_there_gives_a_sentence() -> None:
    with pytest.raises(LedgerUnavailable, match="imagefleet up"):
        Ledger(connect(f"redis://127.0.0.1:{free_port()}/0")).ping()
    with pytest.raises(LedgerUnavailable, match="no Redis address"):
        connect("nonsense")
