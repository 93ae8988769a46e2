"""What is done to a city, and what is waited for in it: the steps that the table of cases is made of.

Here: workers, jobs, messages, the ledger, time. Servers and what lies between: tests.faults.server_deeds. Files:
tests.faults.file_deeds. What `imagefleet up` started: tests.faults.stack.
"""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from producer.client import ClientError
from tests.faults.audit import give_back
from tests.faults.case import Deed
from tests.faults.city import LEASE, MODEL, QUEUE, City
from tests.faults.messages import MESSAGES, unpickled
from tests.fleet import Worker
from tests.pictures import draw
from workers.app import make_app, send_batch
from workers.contract import BatchMessage

#: Seconds that servers are given until somebody notices that they are away.
NOTICE = 60.0

# --- time


def wait(seconds: float) -> Deed:
    return lambda city: pass_time(city, seconds)


def pass_time(city: City, seconds: float) -> None:
    until = time.monotonic() + seconds
    city.wait(lambda: time.monotonic() > until, "time passing", seconds + 10)


def until_over_or(seconds: float) -> Deed:
    """Let it last, but not beyond the end of the jobs."""

    def watch(city: City) -> None:
        until = time.monotonic() + seconds
        city.wait(lambda: time.monotonic() > until or over(city), "time passing", seconds + 10)

    return watch


# --- workers


def workers(number: int = 1, processes: int = 1) -> Deed:
    def start(city: City) -> None:
        for worker in [city.start_worker(processes) for _ in range(number)]:
            worker.wait_ready()

    return start


def kill_child(city: City) -> None:
    worker = city.a_worker()
    city.wait(lambda: worker.pool, "a pool process", NOTICE)
    os.kill(city.chance.choice(worker.pool), signal.SIGKILL)
    city.mark()


def kill_worker(city: City) -> None:
    city.a_worker().kill()
    city.mark()


def kill_all_workers(city: City) -> None:
    for worker in city.workers:
        worker.kill()
    city.mark()


def end_worker(city: City) -> None:
    """SIGTERM: it finishes or gives back what it has, and ends without an error."""
    worker = city.a_worker()
    city.mark()
    assert worker.stop() == 0, worker.text[-3000:]


def end_worker_in_a_hurry(city: City) -> None:
    """SIGTERM, and SIGQUIT in the middle of a batch, as by a machine that shuts down: the batch is given back."""
    worker = city.a_worker()
    worker.process.send_signal(signal.SIGTERM)
    pass_time(city, 0.2)
    worker.process.send_signal(signal.SIGQUIT)
    city.wait(lambda: worker.process.poll() is not None, "the end of the worker", NOTICE)
    city.mark()


def replace_the_deaf_worker(city: City) -> None:
    """It ends by itself, and whoever started it starts another, which hears."""
    city.wait(lambda: not city.workers, "the end of the worker that hears nothing", 150)
    (deaf,) = city.fleet.workers
    assert "does not hear of them" in deaf.text
    city.fleet.options["faults"] = "[]"
    city.mark()
    city.start_worker().wait_ready()


def kill_ten_times(city: City) -> None:
    """Each time at another moment; what was killed is started again."""
    for _ in range(10):
        before = city.done()
        more = before + city.chance.randrange(0, 4)
        city.wait(lambda more=more: city.done() >= more or over(city), "some progress")  # type: ignore[misc]
        kill_worker(city)
        city.start_worker().wait_ready()


def over(city: City) -> bool:
    return all(map(city.is_over, city.jobs))


def freeze_worker_for_longer_than_its_lease(city: City) -> None:
    """And for longer than the broker waits: it hands the messages to the other worker meanwhile."""
    worker = city.a_worker()
    with city.frozen(whole(worker)):
        city.mark()
        give_back(city)
        city.measure()
        pass_time(city, 2 * LEASE)


def whole(worker: Worker) -> list[int]:
    assert worker.pool, "a worker without a process to strike at"
    return [worker.process.pid, *worker.pool]


def lose_what_a_worker_took(city: City) -> None:
    """The BRPOP window: a worker that was stopped gets messages and dies before it noted them."""
    worker = city.a_worker()
    with city.frozen(whole(worker)):
        city.index()
        worker.kill()
    city.mark()
    city.start_worker().wait_ready()


# --- jobs


def index(city: City) -> None:
    city.index()


def index_twice_at_once(city: City) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: city.index(), range(2)))


def index_and_prune_at_once(city: City) -> None:
    """After some files were deleted, some changed, and some came."""
    gone, changed = city.pictures[:20], city.pictures[20:40]
    for file in gone:
        file.unlink()
    for number, file in enumerate(changed):
        draw(file, 500 + number)
    fresh = [draw(city.root / f"new{number:02}.png", 600 + number) for number in range(20)]
    city.pictures = [*city.pictures[20:], *fresh]
    with ThreadPoolExecutor(2) as pool:
        pruning = pool.submit(city.client.prune, city.root, model=MODEL, library=city.fleet.library, delete=True)
        pool.submit(city.index).result()
        assert pruning.result().deleted == len(gone)


def moment(city: City) -> None:
    """A random moment in the first two thirds of the job."""
    share = city.chance.randrange(1, 2 * city.case.images // 3)
    city.wait(lambda: city.done() >= share, f"{share} images being done")


def struck(city: City) -> None:
    """The fault inside a worker has happened."""
    city.wait(city.struck, "the fault")
    city.mark()


def finished(city: City) -> None:
    city.wait(lambda: over(city), "the end of the jobs")


def cancel(city: City) -> None:
    assert city.client.cancel(city.jobs[-1])


def forget_job(city: City) -> None:
    """Its keys expire while batches of it lie in the queue and in the ledger."""
    job = city.jobs.pop()
    with city.asked() as connection:
        connection.delete(f"imagefleet:job:{job}", f"imagefleet:job:{job}:done", f"imagefleet:job:{job}:failures")
        connection.zrem("imagefleet:jobs", job)


def kill_producer_in_the_middle(city: City) -> None:
    slow = '[{"at": "workers.ledger:Ledger.open_batch", "do": "slow", "when": "before", "nth": 1, "times": 0,'
    producer = city.start_producer(IMAGEFLEET_FAULTS=f'{slow} "marker": "", "seconds": 0.5, "tickets": ""}}]')
    city.wait(lambda: city.client.jobs(), "the job of the producer")
    (job,) = city.client.jobs()
    city.jobs.append(job.id)
    batches = city.chance.randrange(2, 4)
    city.wait(lambda: city.client.status(job.id).batches >= batches, "some batches being queued")
    producer.kill()
    city.wait(lambda: not city.client.status(job.id).open_batches, "the queued batches being done")
    assert city.client.status(job.id).queued < city.case.images, "the producer was not in the middle"


def deliver_each_batch(times: int) -> Deed:
    """At once, before anybody takes one."""

    def send(city: City) -> None:
        app = make_app(city.client.settings)
        for job in city.jobs:
            for number in range(city.client.status(job).batches):
                for _ in range(times - 1):
                    send_batch(app, MODEL, BatchMessage(job=job, batch=number, count=1))

    return send


def turn_the_queue_round(city: City) -> None:
    with city.asked() as connection:
        messages = connection.lrange(QUEUE, 0, -1)
        connection.delete(QUEUE)
        connection.rpush(QUEUE, *messages)


def lose_the_queue(city: City) -> None:
    with city.asked() as connection:
        connection.delete(QUEUE)
    city.mark()


def send_messages_of_an_older_version(city: City) -> None:
    """In place of those of this version, which another program took."""
    lose_the_queue(city)
    app = make_app(city.client.settings)
    for job in city.jobs:
        fields = {"job": job, "paths": ["000.png"]}
        app.send_task("imagefleet.index_batch", kwargs=fields, queue=QUEUE)


def send_nonsense(city: City) -> None:
    """Whatever somebody may put on a queue, between the messages of the job."""
    with city.asked() as connection:
        for message in MESSAGES:
            connection.lpush(QUEUE, message)
            connection.lpush(f"search.{MODEL}", message)


def nothing_was_unpickled(city: City) -> None:
    assert not unpickled(), "a pickled message was loaded"


def the_workers_live(city: City) -> None:
    assert city.workers == city.fleet.workers, city.report()


# --- searches


def ask_with(word: str) -> Deed:
    """A query picture that ends whoever decodes it: the asker gets an answer, and so does the next one."""

    def ask(city: City) -> None:
        deadly, harmless = draw(city.folder / "deadly.png", 1), city.pictures[0]
        with deadly.open("ab") as file:
            file.write(word.encode())
        with pytest.raises(ClientError, match="ended without an answer"):
            city.client.search(deadly, model=MODEL, library=city.fleet.library, timeout=city.case.deadline)
        city.mark()
        found = city.client.search(harmless, model=MODEL, library=city.fleet.library, timeout=city.case.deadline)
        assert found.answers[0].hits, found

    return ask


# --- the ledger


def turn_the_clock(seconds: int) -> Deed:
    """Redis' clock jumped by so much: what is leased now seems leased until so much earlier or later."""

    def shift(city: City) -> None:
        with city.asked() as connection:
            for member, deadline in connection.zrange("imagefleet:leases", 0, -1, withscores=True):
                connection.zadd("imagefleet:leases", {member: deadline - seconds})

    return shift
