"""What is done to Redis and Milvus, and to what lies between them and the workers."""

from __future__ import annotations

import resource
import shutil

import pytest

from models.spec import find
from producer.client import ClientError
from tests.faults.case import Deed, Part
from tests.faults.city import MODEL, City
from tests.faults.deeds import NOTICE, pass_time, whole
from tests.services import Service, start_redis
from workers.milvus import MilvusStore
from workers.milvus_rows import collection_name

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
        with city.frozen(getattr(city, part).pids):
            pass_time(city, seconds)
        city.mark()

    return stop


def waiting_is_told(word: str) -> Deed:
    def look(city: City) -> None:
        city.wait(lambda: word in (city.client.status(city.jobs[-1]).waiting or ""), f"the job saying {word!r}", NOTICE)

    return look


def empty_redis(city: City) -> None:
    """It comes back without its data."""
    city.redis.kill()
    shutil.rmtree(city.folder / "redis")
    city.restart("redis")
    lost_and_again(city)


def fail_over_to_an_empty_redis(city: City) -> None:
    """Another, empty server answers at the same address, while the workers live on."""
    city.redis.kill()
    shutil.rmtree(city.folder / "redis")
    city.redis = start_redis(city.folder / "redis")
    city.proxies["redis"].target = city.redis.port
    city.proxies["redis"].cut()
    city.client = city.new_client()
    lost_and_again(city)


def lost_and_again(city: City) -> None:
    """The job says that it is lost; indexing again mends it."""
    (job,) = city.jobs
    with pytest.raises(ClientError, match="lost its data"):
        city.client.wait(job, 5)
    city.jobs.clear()
    city.mark()
    city.index()


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
        for pid in getattr(city, part).pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))

    return limit


def empty_disk(part: Part) -> Deed:
    def limit(city: City) -> None:
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        for pid in getattr(city, part).pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
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
