"""`audit`, `why` and retries on real parts: Redis, Milvus Lite, a Celery worker."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.spec import find
from tests.acceptance.command import Command
from tests.fleet import JOB_SECONDS, Fleet
from tests.pictures import draw, draw_many
from workers.milvus import MilvusStore
from workers.milvus_collection import MilvusCollection

MODEL = "colour"


@pytest.fixture
def imagefleet(fleet: Fleet) -> Command:
    return Command(fleet.folder, fleet.environment | {"IMAGEFLEET_MODELS": MODEL})


@pytest.fixture
def rows(fleet: Fleet) -> Iterator[MilvusCollection]:
    """The collection of an index that is made already."""
    store = MilvusStore.from_settings(fleet.client.settings)
    found = store.collection(fleet.library, find(MODEL, fleet.client.settings.model_dir), create=True)
    assert found is not None
    yield found
    store.close()


def verdict(imagefleet: Command, *args: str) -> str:
    done = imagefleet("why", *args, "--json")
    assert done.returncode == 0, done
    return str(json.loads(done.stdout)["verdict"])


def test_an_audit_finds_every_difference_and_repairs_exactly_these(
    fleet: Fleet, imagefleet: Command, rows: MilvusCollection
) -> None:
    pictures = draw_many(fleet.root / "a", 30)
    odd = draw(fleet.root / "a" / os.fsdecode(b"\xff\n.png"), 99)
    broken = fleet.root / "a" / "broken.jpg"
    broken.write_bytes(b"no picture")
    fleet.start().wait_ready()
    client = fleet.client

    # Before anything was indexed all is missing.
    first = client.audit(fleet.root, model=MODEL)
    assert (first.files["missing"], first.files.total(), first.rows) == (32, 32, 0)
    client.wait(client.index([fleet.root], models=[MODEL])[0], JOB_SECONDS)
    assert imagefleet("audit", str(fleet.root)).returncode == 0

    # Each kind of difference, made by hand.
    lost, changed, gone = pictures[3], pictures[4], pictures[5]
    rows.delete([f"a/{lost.name}", f"a/{odd.name}"])
    draw(changed, 777)
    gone.unlink()
    found = client.audit(fleet.root, model=MODEL)
    assert dict(found.files) == {"indexed": 27, "missing": 2, "stale": 1, "failed": 1}
    assert (found.rows, found.orphaned, found.clean) == (29, 1, False)
    assert found.examples["stale"] == ["a/004.png"]
    assert found.examples["orphaned"] == ["a/005.png"]
    assert sorted(found.examples["missing"]) == sorted(["a/003.png", f"a/{odd.name}"])
    assert found.failures["a/broken.jpg"].kind == "unsupported"

    told = imagefleet("audit", str(fleet.root))
    assert told.returncode == 3
    assert "2 missing (a file without a row)" in told.stdout
    assert f"{broken}: unsupported: " in told.stdout
    assert told.stdout.rstrip().endswith("--repair` queues what is missing or stale and removes rows without a file.")

    # Repair queues these three and asks before it removes the row.
    done = imagefleet("audit", str(fleet.root), "--repair", given=b"n\n")
    assert done.returncode == 3, "a difference is left"
    repaired = client.jobs()[0]
    assert (repaired.queued, repaired.indexed) == (3, 3)
    assert client.audit(fleet.root, model=MODEL).orphaned == 1
    done = imagefleet("audit", str(fleet.root), "--repair", "--yes", "--json")
    assert done.returncode == 0, done
    assert json.loads(done.stdout)[0]["orphaned"] == 1
    assert client.jobs()[0].id == repaired.id, "there was nothing to queue"
    assert imagefleet("audit", str(fleet.root)).returncode == 0
    assert rows.count() == 30


def test_why_gives_the_reason_for_each_image(fleet: Fleet, imagefleet: Command, rows: MilvusCollection) -> None:
    pictures = draw_many(fleet.root / "a", 20)
    broken = fleet.root / "a" / "broken.jpg"
    broken.write_bytes(b"no picture")
    (fleet.root / "a" / "note.txt").write_text("no picture")
    (fleet.root / "a" / "link.png").symlink_to(draw(fleet.folder / "secret.png", 5))
    fleet.start().wait_ready()
    client = fleet.client
    job = client.index([fleet.root / "a"], models=[MODEL])[0]
    client.wait(job, JOB_SECONDS)

    assert verdict(imagefleet, str(pictures[0])) == "indexed"
    assert verdict(imagefleet, "a/000.png") == "indexed", "as hits print it"
    failed = imagefleet("why", str(broken))
    assert f"{broken} ({MODEL}, library {fleet.library}): failed" in failed.stdout
    assert "unsupported: " in failed.stdout
    assert f"in job {job.id}" in failed.stdout
    assert verdict(imagefleet, str(fleet.root / "a" / "note.txt")) == "skipped"
    assert verdict(imagefleet, str(fleet.root / "a" / "link.png")) == "outside"
    assert verdict(imagefleet, str(fleet.folder / "secret.png")) == "outside"
    assert verdict(imagefleet, str(fleet.root / "a" / "none.png")) == "not_there"
    assert verdict(imagefleet, str(draw(fleet.root / "new.png", 3))) == "never_seen"
    assert verdict(imagefleet, str(draw(fleet.root / "a" / "new.png", 4))) == "never_seen"
    draw(pictures[1], 500)
    assert verdict(imagefleet, str(pictures[1])) == "stale"
    pictures[2].unlink()
    assert verdict(imagefleet, str(pictures[2])) == "orphaned"
    rows.delete(["a/003.png"])
    assert verdict(imagefleet, str(pictures[3])) == "lost"
    assert "is a folder" in imagefleet.refused("why", str(fleet.root))

    # With a query: the rank and the score that a search gives.
    (answer,) = client.search([pictures[7]], model=MODEL, limit=20).answers
    for rank in (1, 4):
        hit = answer.hits[rank - 1]
        said = imagefleet("why", hit.path, "--query", str(pictures[7])).stdout
        assert f"rank {rank} of 19 hits, score {hit.score:.4f}." in said, said
    said = imagefleet("why", str(broken), "--query", str(pictures[7])).stdout
    assert "has no rank, since it has no row" in said
    assert "no intact picture" in imagefleet("why", "a/007.png", "--query", str(broken)).stdout


def test_what_was_cancelled_or_is_queued_is_told_apart(fleet: Fleet, imagefleet: Command) -> None:
    fleet.start("search.colour").wait_ready()
    client = fleet.client
    draw_many(fleet.root, 40)
    (job,) = client.index([fleet.root], models=[MODEL])

    assert verdict(imagefleet, str(fleet.root / "039.png")) == "queued"
    assert client.audit(fleet.root, model=MODEL).on_the_way == {job.id: 40}
    client.cancel(job)
    assert verdict(imagefleet, str(fleet.root / "039.png")) == "cancelled"


def test_without_workers_it_is_said_that_nobody_listens(fleet: Fleet, imagefleet: Command) -> None:
    draw(fleet.root / "a.png", 1)
    for command in ("audit", "why"):
        place = fleet.root if command == "audit" else fleet.root / "a.png"
        assert f"No worker listens on the queue search.{MODEL}" in imagefleet.refused(command, str(place))


def test_a_folder_that_is_not_there_is_refused(fleet: Fleet, imagefleet: Command, tmp_path: Path) -> None:
    fleet.root.mkdir(exist_ok=True)
    assert "There is no file or folder" in imagefleet.refused("audit", str(fleet.root / "none"))
    assert "lies outside the image root" in imagefleet.refused("audit", str(tmp_path))


def test_what_failed_is_tried_again_by_retry_by_a_flag_or_by_a_change(fleet: Fleet) -> None:
    broken = fleet.root / "broken.png"
    broken.write_bytes(b"no picture")
    draw(fleet.root / "good.png", 1)
    fleet.start().wait_ready()
    client = fleet.client

    def index(**options: bool) -> tuple[int, int, int]:
        (job,) = client.index([fleet.root], models=[MODEL], **options)  # type: ignore[arg-type]
        state = client.wait(job, JOB_SECONDS)
        return state.failed, state.failed_before, state.indexed

    assert index() == (1, 0, 1)
    assert index() == (1, 1, 0)
    assert index(retry_failed=True) == (1, 0, 0)
    retried = client.wait(client.retry(client.jobs()[0].id, ["unsupported"]), JOB_SECONDS)
    assert (retried.failed, retried.failed_before) == (1, 0)
    draw(broken, 7)
    assert index() == (0, 0, 1)
    fleet.client.ledger._redis.flushall()
    broken.write_bytes(b"no picture either")
    assert index() == (1, 0, 0), "a memory lost with Redis costs one more try"
