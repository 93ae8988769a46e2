"""What is done to a city, and what is waited for in it: the steps that the table of cases is made of."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from models.spec import find
from producer.client import ClientError
from tests.faults.audit import give_back
from tests.faults.case import Deed, Part
from tests.faults.city import LEASE, MODEL, QUEUE, City
from tests.faults.messages import MESSAGES, unpickled
from tests.fleet import Worker
from tests.pictures import draw
from tests.services import Service
from workers.app import make_app, send_batch
from workers.contract import BatchMessage
from workers.milvus import MilvusStore
from workers.milvus_rows import collection_name

#: Seconds that servers are given until somebody notices that they are away.
NOTICE = 60.0

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


# --- servers


def kill(part: Part) -> Deed:
    return lambda city: getattr(city, part).kill()


def end(part: Part) -> Deed:
    def stop(city: City) -> None:
        service: Service = getattr(city, part)
        service.stop()

    return stop


def restart(part: Part) -> Deed:
    def begin(city: City) -> None:
        city.restart(part)
        city.mark()

    return begin


def freeze(part: Part, seconds: float) -> Deed:
    def stop(city: City) -> None:
        with city.frozen([getattr(city, part).process.pid]):
            pass_time(city, seconds)
        city.mark()

    return stop


def waiting_is_told(word: str) -> Deed:
    def look(city: City) -> None:
        city.wait(lambda: word in (city.client.status(city.jobs[-1]).waiting or ""), f"the job saying {word!r}", NOTICE)

    return look


def empty_redis(city: City) -> None:
    """As when another, empty one takes over: the job says that it is lost, and indexing again mends it."""
    city.redis.kill()
    shutil.rmtree(city.folder / "redis")
    city.restart("redis")
    (job,) = city.jobs
    with pytest.raises(ClientError, match="lost its data"):
        city.client.wait(job, 5)
    city.jobs.clear()
    city.index()
    city.mark()


def fill_redis(city: City) -> None:
    with city.asked() as connection:
        connection.config_set("maxmemory", 1)


def empty_some_of_redis(city: City) -> None:
    with city.asked() as connection:
        connection.config_set("maxmemory", 0)
    city.mark()


def fill_disk(part: Part) -> Deed:
    """No file may grow any more."""

    def limit(city: City) -> None:
        resource.prlimit(getattr(city, part).process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))

    return limit


def empty_disk(part: Part) -> Deed:
    def limit(city: City) -> None:
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(getattr(city, part).process.pid, resource.RLIMIT_FSIZE, unlimited)
        city.mark()

    return limit


def survive_full_disks(part: Part) -> Deed:
    def again(city: City) -> None:
        getattr(city, part).stop()
        city.restart(part, ignoring_full_disks=True)

    return again


def limit_memory(mebibytes: int) -> Deed:
    """Of every process of the workers, those to come included."""

    def limit(city: City) -> None:
        for worker in city.workers:
            for pid in whole(worker):
                resource.prlimit(pid, resource.RLIMIT_AS, (mebibytes * 2**20, resource.RLIM_INFINITY))

    return limit


def drop_collection(city: City) -> None:
    store = MilvusStore.from_settings(city.client.settings)
    name = collection_name(city.fleet.library, find(MODEL, city.client.settings.model_dir))
    try:
        store.call(lambda client: client.drop_collection(name))
    finally:
        store.close()


# --- what lies between the parts


def slow_down(part: Part, seconds: float) -> Deed:
    def delay(city: City) -> None:
        city.proxies[part].delay = seconds

    return delay


def cut(part: Part, times: int = 1) -> Deed:
    """Every connection at once, at random moments."""

    def end_connections(city: City) -> None:
        for _ in range(times):
            pass_time(city, city.chance.uniform(0.05, 0.8))
            city.proxies[part].cut()
        city.mark()

    return end_connections


def cut_after(part: Part, most: int) -> Deed:
    """Connections end after so many bytes at most, wherever that is; 0 ends this."""

    def weaken(city: City) -> None:
        city.proxies[part].cut_after = most
        city.proxies[part].cut()
        if not most:
            city.mark()

    return weaken


def switch(part: Part, mode: str) -> Deed:
    def change(city: City) -> None:
        proxy = city.proxies[part]
        proxy.mode = mode  # type: ignore[assignment]
        if mode == "pass":
            proxy.cut()  # what is half read stays so
            city.mark()

    return change


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


# --- the ledger


def turn_the_clock_back(city: City) -> None:
    """Redis' clock was an hour ahead: what was leased until then seems leased for an hour."""
    with city.asked() as connection:
        for member, deadline in connection.zrange("imagefleet:leases", 0, -1, withscores=True):
            connection.zadd("imagefleet:leases", {member: deadline + 3600})


# --- pictures


def mark_picture(word: str) -> Deed:
    """A picture that is good for everybody but the faults of the case, which look for the word."""

    def append(city: City) -> None:
        with city.chance.choice(city.pictures).open("ab") as file:
            file.write(word.encode())

    return append


def spoil_files(city: City) -> None:
    """Between enqueueing and reading: replaced, cut short, deleted, and what cannot be read."""
    replaced, short, gone, folder = city.chance.sample(city.pictures, 4)
    draw(replaced, 777)
    short.write_bytes(short.read_bytes()[:100])
    gone.unlink()
    folder.unlink()
    folder.mkdir()
    city.pictures = [file for file in city.pictures if file not in (gone, folder)]


def rename_folder(city: City) -> None:
    """The pictures of a folder are moved to another name, which nobody indexed."""
    new = city.root / "renamed"
    new.mkdir()
    for file in city.pictures[:10]:
        file.rename(new / file.name)


def take_root_away(city: City) -> None:
    city.root.rename(city.folder / "elsewhere")


def bring_root_back(city: City) -> None:
    home = city.folder / "pictures"
    if home.exists():
        home.rmdir()
    (city.folder / "elsewhere").rename(home)
    city.mark()


def empty_root(city: City) -> None:
    """As a folder looks when its disk is not mounted."""
    take_root_away(city)
    (city.folder / "pictures").mkdir()
