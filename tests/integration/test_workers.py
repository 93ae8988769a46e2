"""The main job on real parts: Redis, Milvus Lite, Celery workers, ONNX Runtime."""

from __future__ import annotations

import os
import re
import signal

import pytest

from producer.client import Client
from tests.fleet import JOB_SECONDS, Fleet
from tests.pictures import draw, draw_many
from tests.waiting import wait_until
from workers.app import make_app, send_batch
from workers.contract import BatchMessage
from workers.job_state import JobState
from workers.milvus import MilvusStore

MODEL = "colour"


def index(client: Client, fleet: Fleet) -> JobState:
    (job,) = client.index([fleet.root], models=[MODEL])
    return client.wait(job, JOB_SECONDS)


def rows(fleet: Fleet) -> int:
    from models.spec import find

    store = MilvusStore.from_settings(fleet.client.settings)
    try:
        collection = store.collection(fleet.library, find(MODEL, fleet.client.settings.model_dir), create=False)
        return collection.count() if collection else 0
    finally:
        store.close()


def counted(state: JobState) -> tuple[int, int, int, int]:
    return state.indexed, state.unchanged, state.failed, state.cancelled


def test_the_main_job(fleet: Fleet) -> None:
    """One worker, one story, since starting workers is what takes time here."""
    pictures = draw_many(fleet.root / "holiday", 40)
    (fleet.root / "holiday" / "broken.jpg").write_bytes(b"no picture")
    fleet.start(processes=2).wait_ready()
    client = fleet.client

    # An indexed picture finds itself first, by its pixels and by its path.
    state = index(client, fleet)
    assert counted(state) == (40, 0, 1, 0)
    assert [failure.path for failure in client.failures(state.id)] == ["holiday/broken.jpg"]
    answer = client.search([pictures[7]], [pictures[9]], model=MODEL, limit=3, thumbnail=32)
    by_pixels, by_path = answer.answers
    assert [by_pixels.hits[0].path, by_path.hits[0].path] == ["holiday/007.png", "holiday/009.png"]
    assert by_pixels.hits[0].score == pytest.approx(1, abs=1e-4)
    assert by_pixels.hits[0].thumbnail
    assert by_pixels.hits[0].score > by_pixels.hits[1].score

    # A second run embeds nothing, and does not try again what is broken still.
    again = index(client, fleet)
    assert (counted(again), again.failed_before) == ((0, 40, 1, 0), 1)
    assert list(client.failures(again.id)) == list(client.failures(state.id))

    # A changed file is embedded again, in its own row.
    draw(pictures[3], 999)
    assert counted(index(client, fleet)) == (1, 39, 1, 0)
    assert rows(fleet) == 40
    (answer,) = client.search([pictures[3]], model=MODEL, limit=1).answers
    assert answer.hits[0].path == "holiday/003.png"

    # A deleted one is found by prune, which removes it only when asked to.
    pictures[5].unlink()
    found = client.prune(fleet.root, model=MODEL)
    assert (found.looked_at, found.gone, found.deleted, found.examples) == (40, 1, 0, ["holiday/005.png"])
    assert client.prune(fleet.root, model=MODEL, delete=True).deleted == 1
    assert rows(fleet) == 39

    # Retrying takes the failed ones alone, and knows that one has been mended.
    draw(fleet.root / "holiday" / "mended.png", 77).rename(fleet.root / "holiday" / "broken.jpg")
    retried = client.wait(client.retry(state.id), JOB_SECONDS)
    assert counted(retried) == (1, 0, 0, 0)

    # Questions that have no answer get a sentence.
    (answer,) = client.search([pictures[0]], model=MODEL, library="nowhere").answers
    assert "imagefleet index" in (answer.error or "")


def test_a_worker_killed_in_the_middle_changes_nothing_but_the_speed(fleet: Fleet) -> None:
    draw_many(fleet.root, 200)
    steady, doomed = fleet.start(), fleet.start()
    steady.wait_ready()
    doomed.wait_ready()
    client = fleet.client
    (job,) = client.index([fleet.root], models=[MODEL])
    wait_until(lambda: client.status(job).indexed > 0, JOB_SECONDS, "the first batch")
    doomed.kill()
    state = client.wait(job, JOB_SECONDS)
    assert counted(state) == (200, 0, 0, 0)
    assert (state.queued, rows(fleet)) == (200, 200)


def test_a_killed_pool_process_is_replaced_and_its_batch_done(fleet: Fleet) -> None:
    draw_many(fleet.root, 120)
    worker = fleet.start().wait_ready()
    client = fleet.client
    (job,) = client.index([fleet.root], models=[MODEL])
    wait_until(lambda: client.status(job).indexed > 0, JOB_SECONDS, "the first batch")
    os.kill(worker.pool[-1], signal.SIGKILL)
    state = client.wait(job, JOB_SECONDS)
    assert counted(state) == (120, 0, 0, 0)
    assert rows(fleet) == 120
    assert worker.process.poll() is None


def test_messages_delivered_twice_count_once(fleet: Fleet) -> None:
    draw_many(fleet.root, 30)
    client = fleet.client
    (job,) = client.index([fleet.root], models=[MODEL])
    for number in range(client.status(job).batches):
        for _ in range(3):
            send_batch(make_app(client.settings), MODEL, BatchMessage(job=job.id, batch=number, count=1))
    fleet.start(processes=2).wait_ready()
    state = client.wait(job, JOB_SECONDS)
    wait_until(lambda: client.ledger.queue_length(f"index.{MODEL}") == 0, JOB_SECONDS, "the queue emptying")
    assert counted(client.status(job)) == counted(state) == (30, 0, 0, 0)
    assert rows(fleet) == 30


def test_a_lost_message_is_sent_again(fleet: Fleet) -> None:
    draw_many(fleet.root, 20)
    client = fleet.client
    (job,) = client.index([fleet.root], models=[MODEL])
    client.ledger._redis.delete(f"index.{MODEL}")  # as if a worker died between taking messages and noting them
    fleet.start().wait_ready()
    assert counted(client.wait(job, JOB_SECONDS)) == (20, 0, 0, 0)


def test_a_path_that_leads_out_of_the_root_is_a_failure_of_that_image(fleet: Fleet) -> None:
    secret = draw(fleet.folder / "secret.png", 1)
    (fleet.root / "link.png").symlink_to(secret)
    draw(fleet.root / "good.png", 2)
    fleet.start().wait_ready()
    client = fleet.client
    state = index(client, fleet)
    assert counted(state) == (1, 0, 1, 0)
    (failure,) = client.failures(state.id)
    assert (failure.path, failure.kind) == ("link.png", "refused")


@pytest.mark.parametrize(
    ("queues", "sentence"),
    [
        ("index.nonsense", "no model 'nonsense'"),
        ("celery", "-Q index.MODEL"),
        ("index.colour,other", "-Q index.MODEL"),
    ],
)
def test_a_worker_that_cannot_work_says_so_and_ends(fleet: Fleet, queues: str, sentence: str) -> None:
    worker = fleet.start(queues)
    assert worker.process.wait(60) == 2
    assert sentence in worker.text
    assert "Traceback" not in worker.text


def test_a_provider_that_is_not_there_ends_the_worker_with_a_sentence(fleet: Fleet) -> None:
    fleet.options["providers"] = "CUDAExecutionProvider"
    worker = fleet.start()
    worker.process.wait(120)
    assert "CUDAExecutionProvider" in worker.text
    assert "Traceback" not in worker.text


def test_messages_that_are_none_are_refused_and_stop_nothing(fleet: Fleet) -> None:
    draw_many(fleet.root, 4)
    worker = fleet.start().wait_ready()
    client = fleet.client
    app = make_app(client.settings)
    for fields in (
        {},
        {"job": 3},
        {"job": "x" * 12, "batch": -1, "count": 1},
        {"job": "0" * 12, "batch": 0, "count": 1, "extra": 1},
    ):
        app.send_task("imagefleet.index_batch", kwargs=fields, queue=f"index.{MODEL}")
    app.send_task("imagefleet.search", kwargs={"request": {"model": MODEL}}, queue=f"search.{MODEL}")
    app.send_task("os.system", args=["true"], queue=f"index.{MODEL}")
    assert counted(index(client, fleet)) == (4, 0, 0, 0)
    wait_until(lambda: len(re.findall(r"ERROR.*was refused", worker.text)) == 6, JOB_SECONDS, "six refusals")
    assert worker.process.poll() is None
