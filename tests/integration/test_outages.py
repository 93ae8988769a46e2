"""Servers that die in the middle of a job: it waits, says what for, and ends complete."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models.spec import find
from producer.client import ClientError
from tests.fleet import JOB_SECONDS, Fleet
from tests.pictures import draw_many
from tests.services import Service, start_milvus_lite, start_redis
from tests.waiting import wait_until
from workers.job_state import JobState
from workers.milvus import MilvusStore

IMAGES = 160


class Town:
    """A fleet whose servers are its own, so that a test may kill them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.redis = start_redis(folder / "redis")
        self.milvus = start_milvus_lite(folder / "milvus")
        self.fleet = Fleet(folder, self.redis.url, self.milvus.url, f"t{uuid.uuid4().hex[:10]}")
        self.client = self.fleet.client
        draw_many(self.fleet.root, IMAGES)

    def restart(self, name: str) -> None:
        service: Service = getattr(self, name)
        start: Callable[[Path, int], Service] = start_redis if name == "redis" else start_milvus_lite
        setattr(self, name, start(self.folder / name, service.port))

    def rows(self) -> int:
        store = MilvusStore.from_settings(self.client.settings)
        try:
            spec = find("colour", self.client.settings.model_dir)
            collection = store.collection(self.fleet.library, spec, create=False)
            return collection.count() if collection else 0
        finally:
            store.close()

    def state(self, job: str) -> JobState | None:
        """None while Redis is away."""
        try:
            return self.client.status(job)
        except ClientError:
            return None

    def finished(self, job: str) -> JobState:
        def look() -> JobState | None:
            state = self.state(job)
            return state if state and state.finished else None

        state = wait_until(look, JOB_SECONDS, "the end of the job")
        assert state is not None
        return state

    def close(self) -> None:
        self.fleet.close()
        self.milvus.kill()
        self.redis.kill()


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    made = Town(tmp_path)
    yield made
    made.close()


def begun(town: Town) -> str:
    """A job of which something is done and something is not."""
    town.fleet.start().wait_ready()
    (job,) = town.client.index([town.fleet.root], models=["colour"])
    wait_until(lambda: town.client.status(job).indexed > 0, JOB_SECONDS, "the first batch")
    return job.id


def test_milvus_killed_in_the_middle(town: Town) -> None:
    job = begun(town)
    town.milvus.kill()
    waiting = wait_until(lambda: town.client.status(job).waiting, JOB_SECONDS, "the job saying what it waits for")
    assert "Milvus" in waiting
    town.restart("milvus")
    state = town.finished(job)
    assert (state.indexed, state.failed, state.queued) == (IMAGES, 0, IMAGES)
    assert town.rows() == IMAGES


def test_redis_killed_in_the_middle(town: Town) -> None:
    job = begun(town)
    town.redis.kill()
    assert town.state(job) is None
    town.restart("redis")
    state = town.finished(job)
    assert (state.indexed, state.failed, state.queued) == (IMAGES, 0, IMAGES)
    assert town.rows() == IMAGES


def test_milvus_away_from_the_start(town: Town) -> None:
    town.milvus.kill()
    town.fleet.start().wait_ready()
    (job,) = town.client.index([town.fleet.root], models=["colour"])
    wait_until(lambda: town.client.status(job).waiting, JOB_SECONDS, "the job saying what it waits for")
    (answer,) = town.client.search([town.fleet.root / "000.png"], model="colour").answers
    assert "Milvus" in (answer.error or "")
    town.restart("milvus")
    assert town.finished(job.id).indexed == IMAGES


def test_an_image_root_that_vanishes_fails_no_image(town: Town) -> None:
    job = begun(town)
    away = town.fleet.folder / "elsewhere"
    town.fleet.root.rename(away)
    waiting = wait_until(lambda: town.client.status(job).waiting, JOB_SECONDS, "the job saying what it waits for")
    assert "image root" in waiting
    away.rename(town.fleet.folder / "pictures")
    state = town.finished(job)
    assert (state.indexed, state.failed) == (IMAGES, 0)
