"""The daily use, from the command line, with real workers: index, search, change, prune."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.command import Command
from tests.fleet import Fleet
from tests.pictures import draw, draw_many

MODEL = "colour"


@pytest.fixture
def fleet(tmp_path: Path, redis_url: str, milvus_uri: str) -> Iterator[Fleet]:
    made = Fleet(tmp_path, redis_url, milvus_uri, library=f"t{uuid.uuid4().hex[:10]}")
    made.options["models"] = MODEL
    made.start(f"index.{MODEL},search.{MODEL}", processes=2).wait_ready()
    yield made
    made.close()


def test_the_daily_use(fleet: Fleet) -> None:
    """One story, since starting workers is what takes time here."""
    pictures = draw_many(fleet.root / "holiday", 20)
    (fleet.root / "holiday" / "broken.jpg").write_bytes(b"no picture")
    elsewhere = draw(fleet.folder / "elsewhere" / "query.png", 7)
    imagefleet = Command(fleet.root, fleet.environment)

    # Indexing ends with a summary and says where to see what failed.
    done = imagefleet("index", "holiday")
    assert done.returncode == 0, done
    assert f"{MODEL}: 20 indexed, 1 failed in " in done.stdout
    assert "1 image failed: `imagefleet failures " in done.stdout

    # Again: nothing is embedded.
    assert f"{MODEL}: 0 indexed, 20 unchanged, 1 failed (1 as before) in " in imagefleet("index", "holiday").stdout

    # A picture from anywhere finds its like; several queries come back in their order.
    done = imagefleet("search", str(elsewhere), "--like", "holiday/003.png", "--limit", "2", "--json")
    answers = json.loads(done.stdout)["answers"]
    assert [answer["hits"][0]["path"] for answer in answers] == ["holiday/007.png", "holiday/003.png"]
    assert answers[0]["hits"][0]["file"] == str(pictures[7])
    assert [len(answer["hits"]) for answer in answers] == [2, 2]

    # A table for people, a sheet for the browser.
    done = imagefleet("search", str(elsewhere), "--limit", "3", "--html", "../hits.html")
    assert [line.split()[0] for line in done.stdout.splitlines()[1:5]] == ["rank", "1", "2", "3"]
    page = (fleet.folder / "hits.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 4
    assert str(pictures[7]) in done.stdout

    # Ask now, fetch later.
    (task,) = imagefleet("search", str(elsewhere), "--no-wait").stdout.split()
    assert str(pictures[7]) in imagefleet("result", task).stdout

    # A picture that is none is one sentence, and does not spoil the others.
    assert "no intact picture" in imagefleet.refused("search", "holiday/broken.jpg")
    done = imagefleet("search", "holiday/broken.jpg", str(elsewhere))
    assert done.returncode == 2
    assert str(pictures[7]) in done.stdout
    assert "not indexed" in imagefleet.refused("search", "--like", "holiday/999.png")

    # What is gone is counted first, and removed when that is agreed to.
    pictures[7].unlink()
    assert "1 of them gone" in imagefleet("prune", "holiday", given=b"n\n").stdout
    done = imagefleet("prune", "holiday", given=b"y\n")
    assert f"{MODEL}: 1 image removed from the index; no file was touched." in done.stdout
    assert f"{MODEL}: 19 images below holiday, none of them gone." in imagefleet("prune", "holiday", "--yes").stdout
    assert str(pictures[7]) not in imagefleet("search", str(elsewhere)).stdout
