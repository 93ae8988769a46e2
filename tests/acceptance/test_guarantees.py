"""The guarantees of the README, sentence by sentence, by the commands that a user types."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.pictures import draw, draw_many
from tests.services import ROOT
from tests.waiting import wait_until

#: Seconds that one command may take on a busy machine.
COMMAND_SECONDS = 180


@dataclass
class Home:
    """A user's machine: a state folder, pictures, and the command."""

    folder: Path

    @property
    def pictures(self) -> Path:
        return self.folder / "pictures"

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(arguments),
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            env=self.environment,
            cwd=self.folder,
            check=False,
        )

    def command(self, arguments: Sequence[str | Path]) -> list[str]:
        return [sys.executable, "-c", "from producer.cli import main; main()", *map(str, arguments)]

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("IMAGEFLEET_")}
        own = {"IMAGEFLEET_STATE_DIR": str(self.folder / "state"), "IMAGEFLEET_LEASE_SECONDS": "5"}
        return kept | own | {"PYTHONPATH": str(ROOT)}

    def ok(self, *arguments: str | Path) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def index(self) -> dict[str, Any]:
        """Index the pictures with one model and return the state of the job."""
        self.ok("index", self.pictures, "--model", "colour")
        return self.newest_job()

    def newest_job(self) -> dict[str, Any]:
        job: dict[str, Any] = json.loads(self.ok("status", "--json"))[0]
        return job

    def first_hit(self, *query: str | Path) -> str:
        found = json.loads(self.ok("search", *query, "--model", "colour", "--limit", "1", "--json"))
        return str(found["answers"][0]["hits"][0]["file"])

    def processes(self) -> list[int]:
        """Every process that belongs to this home."""
        mark = str(self.folder / "state").encode()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A machine on which everything runs; the last test stops it."""
    made = Home(tmp_path_factory.mktemp("home"))
    draw_many(made.pictures, 40)
    (made.folder / "empty").mkdir()
    (made.folder / "none.jpg").write_bytes(b"none")
    made.ok("up", "--detach", "--workers", "2", "--flower-port", "0")
    yield made
    made.run("down")


def test_an_indexed_picture_finds_itself_first(home: Home) -> None:
    job = home.index()
    assert (job["phase"], job["indexed"], job["failed"]) == ("finished", 40, 0)
    picture = home.pictures / "007.png"
    assert home.first_hit(picture) == str(picture)
    assert home.first_hit("--like", picture) == str(picture)


def test_indexing_again_embeds_nothing_that_has_not_changed(home: Home) -> None:
    home.index()
    job = home.index()
    assert (job["indexed"], job["unchanged"]) == (0, 40)


def test_a_changed_picture_is_embedded_again_and_a_deleted_one_can_be_pruned(home: Home) -> None:
    home.index()
    changed, deleted = draw(home.pictures / "001.png", 500), home.pictures / "002.png"
    deleted.unlink()
    job = home.index()
    assert (job["indexed"], job["unchanged"]) == (1, 38)
    assert home.first_hit(changed) == str(changed)
    assert "1 image removed" in home.ok("prune", home.pictures, "--model", "colour", "--yes")
    draw(deleted, 2)


def test_a_picture_that_cannot_be_indexed_is_named_with_its_reason_and_spoils_no_other(home: Home) -> None:
    broken = home.pictures / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no picture")
    job = home.index()
    assert job["failed"] == 1
    assert job["indexed"] + job["unchanged"] == 40
    failures = home.ok("failures", job["id"])
    assert "broken.jpg" in failures
    assert "unreadable" in failures or "unsupported" in failures
    broken.unlink()


def test_a_worker_killed_in_the_middle_of_a_job_changes_nothing_but_the_speed(home: Home) -> None:
    draw_many(home.pictures / "more", 300)
    indexing = subprocess.Popen(
        home.command(["index", home.pictures, "--model", "colour"]),
        env=home.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    wait_until(lambda: home.newest_job()["indexed"], 60, "the first new picture")
    (worker,) = [
        pid
        for pid in home.processes()
        if b"index@%h" in (command := Path(f"/proc/{pid}/cmdline").read_bytes()) and b"celery" in command
    ]
    os.kill(worker, signal.SIGKILL)
    output, _ = indexing.communicate(timeout=COMMAND_SECONDS)
    assert indexing.returncode == 0, output
    job = home.newest_job()
    assert (job["phase"], job["queued"], job["failed"]) == ("finished", 340, 0)
    assert job["indexed"] + job["unchanged"] == 340
    assert home.index()["unchanged"] == 340, "every picture has its row"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["index", "nowhere"], "nowhere"),
        (["index", "empty"], "There are no pictures"),
        (["index", "pictures", "--model", "colours"], "There is no model"),
        (["search", "nothing.jpg"], "nothing.jpg"),
        (["search", "pictures/003.png", "--limit", "0"], "limit is 0"),
        (["search", "pictures/003.png", "--limit", "1000000"], "limit is 1,000,000"),
        (["search", "none.jpg"], "no intact picture"),
        (["status", "ffffffffffff"], "There is no job"),
        (["up"], "runs already"),
    ],
)
def test_a_wrong_command_ends_in_one_sentence_and_exit_code_2(home: Home, arguments: list[str], sentence: str) -> None:
    done = home.run(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_after_down_nothing_is_left_running(home: Home) -> None:
    assert home.processes()
    assert "Stopped." in home.ok("down")
    assert home.processes() == []
    assert "Nothing runs" in home.ok("down")
