"""The commands about jobs, with a real Redis and no workers."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from pathlib import Path

import pytest
import redis

from tests.acceptance.command import START, Command
from workers.contract import BatchMessage, Failure, Image
from workers.job_state import JobSpec
from workers.leases import Begun, Leases
from workers.ledger import Ledger

MODEL = "mobilenetv2-int8"


@pytest.fixture
def imagefleet(tmp_path: Path, redis_url: str) -> Command:
    (tmp_path / "pics").mkdir()
    for number in range(20):
        (tmp_path / "pics" / f"{number:02}.jpg").write_bytes(b"picture")
    variables = {"REDIS_URL": redis_url, "STATE_DIR": str(tmp_path / "state"), "MODELS": MODEL, "BATCH_SIZE": "16"}
    return Command(tmp_path, {f"IMAGEFLEET_{name}": value for name, value in variables.items()})


@pytest.fixture
def ledger(redis_url: str) -> Ledger:
    return Ledger(redis.Redis.from_url(redis_url))


def a_failed_job(ledger: Ledger, redis_url: str, path: str) -> str:
    """A finished job with one image that failed."""
    job = ledger.create_job(JobSpec("images", MODEL, ("pics",)))
    number = ledger.open_batch(job, [Image(path, 1, 1)])
    assert number is not None
    ledger.close_walk(job, {})
    leases = Leases(redis.Redis.from_url(redis_url), "tests")
    message = BatchMessage(job=job, batch=number, count=1)
    leases.begin(message, redelivered=False)
    leases.commit(message, 0, 0, [Failure(path=path, kind="unreadable", reason="It is cut short.")])
    return job


def test_index_without_waiting_queues_and_says_how_to_follow(imagefleet: Command, ledger: Ledger) -> None:
    done = imagefleet("index", "pics", "--no-wait")

    (job,) = ledger.jobs()
    assert done.returncode == 0
    assert done.stdout == f"{MODEL}: 20 images queued; `imagefleet status {job.id} --watch` shows how far it is.\n"
    assert (job.queued, job.walked) == (20, True)
    assert ledger.queue_length(f"index.{MODEL}") == 2


def test_a_message_in_the_queue_is_short_and_names_no_path(imagefleet: Command, redis_url: str) -> None:
    imagefleet("index", "pics", "--no-wait")

    with redis.Redis.from_url(redis_url) as connection:
        (message, _) = connection.lrange(f"index.{MODEL}", 0, -1)
    assert b"pics" not in message
    assert b"batch 1, 4 images" in message
    assert len(message) < 1500


def test_status_is_found_by_the_beginning_of_an_id_and_speaks_json(imagefleet: Command) -> None:
    imagefleet("index", "pics", "--no-wait", "--library", "mine")
    (listed,) = json.loads(imagefleet("jobs", "--json").stdout)

    told = imagefleet("status", listed["id"][:6])
    document = json.loads(imagefleet("status", listed["id"][:6], "--json").stdout)

    assert f"Job {listed['id']}: running, {MODEL}, library mine" in told.stdout
    assert str(imagefleet.folder / "pics") in told.stdout
    assert (document["id"], document["queued"], document["phase"]) == (listed["id"], 20, "running")


def test_status_without_a_job_shows_what_goes_on_or_says_that_nothing_does(imagefleet: Command) -> None:
    assert imagefleet("status").stdout == "There are no jobs yet; `imagefleet index DIR` makes one.\n"
    assert imagefleet("jobs").stdout == "There are no jobs yet; `imagefleet index DIR` makes one.\n"

    imagefleet("index", "pics", "--no-wait")

    assert ": running, " in imagefleet("status").stdout
    assert "0/20" in imagefleet("jobs").stdout


def test_an_unknown_job_is_refused(imagefleet: Command) -> None:
    for command in ("status", "cancel", "failures", "retry"):
        said = imagefleet.refused(command, "abcdef")
        assert said == "There is no job abcdef; `imagefleet jobs` lists those that are remembered."


def test_a_cancelled_job_is_over_and_can_be_cancelled_once(imagefleet: Command, ledger: Ledger) -> None:
    imagefleet("index", "pics", "--no-wait")
    job = ledger.jobs()[0].id

    assert imagefleet("cancel", job).stdout == f"Job {job} is cancelled.\n"
    assert imagefleet("cancel", job).stdout == f"Job {job} was over; there is nothing to cancel.\n"
    assert "20 cancelled" in imagefleet("status", job).stdout
    assert imagefleet("status", job, "--watch").returncode == 0


def test_failures_are_listed_written_and_retried(imagefleet: Command, ledger: Ledger, redis_url: str) -> None:
    path = os.fsdecode(os.fsencode(imagefleet.folder).lstrip(b"/") + b"/pics/\xff.jpg")
    job = a_failed_job(ledger, redis_url, path)

    listed = imagefleet("failures", job)
    assert f"{imagefleet.folder}/pics/\\xff.jpg: unreadable: It is cut short." in listed.stdout
    assert "1 image failed:" in listed.stdout
    assert json.loads(imagefleet("failures", job, "--json").stdout)[0]["path"] == path

    assert imagefleet("failures", job, "--csv", "f.csv").stdout == "1 failure written to f.csv.\n"
    lines = (imagefleet.folder / "f.csv").read_bytes().splitlines()
    assert lines == [b"path,class,reason", os.fsencode(path) + b",unreadable,It is cut short."]

    assert imagefleet("retry", job, "--no-wait").returncode == 0
    retry = ledger.jobs()[0]
    assert (retry.queued, retry.retry_of, retry.model) == (1, job, MODEL)


def test_failures_are_listed_and_retried_by_their_class(imagefleet: Command, ledger: Ledger, redis_url: str) -> None:
    job = a_failed_job(ledger, redis_url, "pics/00.jpg")

    assert "pics/00.jpg" in imagefleet("failures", job, "--class", "unreadable", "--class", "crashed").stdout
    assert imagefleet("failures", job, "--class", "crashed").stdout == "No image of that job failed so.\n"
    assert imagefleet.refused("retry", job, "--class", "crashed") == (
        f"Job {job} has no failed images of class crashed; there is nothing to retry."
    )
    assert "did you mean unreadable?" in imagefleet.refused("retry", job, "--class", "unreadeble")
    assert "the classes are not_found, " in imagefleet.refused("failures", job, "--class", "x")

    assert imagefleet("retry", job, "--class", "unreadable", "--no-wait").returncode == 0
    assert (ledger.jobs()[0].queued, ledger.jobs()[0].retry_of) == (1, job)


def test_only_who_asks_for_it_tries_again_what_has_not_changed(
    imagefleet: Command, ledger: Ledger, redis_url: str
) -> None:
    leases = Leases(redis.Redis.from_url(redis_url), "tests")

    def asked(*command: str) -> bool:
        imagefleet(*command, "--no-wait")
        begun = leases.begin(BatchMessage(job=ledger.jobs()[0].id, batch=0, count=1), redelivered=False)
        assert isinstance(begun, Begun)
        return begun.retry_failed

    assert not asked("index", "pics")
    assert asked("index", "pics", "--retry-failed")
    assert asked("retry", a_failed_job(ledger, redis_url, "pics/00.jpg"))


def test_a_csv_that_cannot_be_written_is_refused(imagefleet: Command, ledger: Ledger, redis_url: str) -> None:
    job = a_failed_job(ledger, redis_url, "a.jpg")

    for file in ("no/f.csv", "/dev/full"):
        assert f"{file} cannot be written" in imagefleet.refused("failures", job, "--csv", file)


def test_a_full_disk_behind_the_output_is_one_sentence(imagefleet: Command, ledger: Ledger, redis_url: str) -> None:
    a_failed_job(ledger, redis_url, "a.jpg")

    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*START, "jobs"], stdout=full, stderr=subprocess.PIPE, env=imagefleet.environment())

    assert (done.returncode, done.stderr) == (2, b"imagefleet: No space left on device.\n")


def test_a_reader_that_leaves_is_no_error(imagefleet: Command, ledger: Ledger, redis_url: str) -> None:
    a_failed_job(ledger, redis_url, "a.jpg")
    process = imagefleet.start("jobs")
    assert process.stdout
    process.stdout.close()
    process.stdout = None

    _, errors = process.communicate(timeout=60)

    assert errors == b""


def test_ctrl_c_while_workers_are_waited_for_leaves_the_job_and_says_how_to_come_back(
    imagefleet: Command, ledger: Ledger
) -> None:
    process = imagefleet.start("index", "pics")
    wait_for_text(process, f"{MODEL}: 0/20 images")

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)

    (job,) = ledger.jobs()
    assert process.returncode == 130
    assert f"imagefleet status {job.id} --watch" in errors.decode()
    assert "The work goes on" in errors.decode()
    assert job.phase == "running"


def test_ctrl_c_in_the_middle_of_a_walk_says_that_the_same_command_queues_the_rest(
    imagefleet: Command, ledger: Ledger
) -> None:
    process = imagefleet.start("index", "--from-file", "-")
    assert process.stdin
    process.stdin.write(b"".join(b"pics/%02d.jpg\n" % number for number in range(20)))
    process.stdin.flush()
    wait_for_text(process, f"{MODEL}: 0/16+ images")

    process.send_signal(signal.SIGINT)
    errors = process.stderr.read().decode() if process.stderr else ""
    process.communicate(timeout=60)

    (job,) = ledger.jobs()
    assert process.returncode == 130
    assert "16 images are queued and will be indexed" in errors
    assert "Run the same command again to queue the rest" in errors
    assert (job.queued, job.interrupted) == (16, True)


def test_without_workers_it_is_said_that_nobody_listens(imagefleet: Command) -> None:
    process = imagefleet.start("index", "pics")
    try:
        wait_for_text(process, f"no worker listens on index.{MODEL}; start one with `imagefleet up`")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_a_search_that_nobody_answers_says_so_and_can_be_fetched_later(imagefleet: Command, ledger: Ledger) -> None:
    said = imagefleet.refused("search", "pics/00.jpg", "--timeout", "6")

    assert said.startswith(f"No worker listens on the queue search.{MODEL}; start one with `imagefleet up")
    assert ledger.queue_length(f"search.{MODEL}") == 1


def test_a_search_message_shows_no_picture_in_flower(imagefleet: Command, redis_url: str) -> None:
    done = imagefleet("search", "pics/00.jpg", "--no-wait")

    with redis.Redis.from_url(redis_url) as connection:
        headers = json.loads(connection.lrange(f"search.{MODEL}", 0, 0)[0])["headers"]
    assert done.stdout.strip() == headers["id"]
    assert headers["kwargsrepr"] == "1 query, 10 hits, library images"


def wait_for_text(process: subprocess.Popen[bytes], text: str) -> None:
    """Read standard error until the text has come; fails after 60 s."""
    assert process.stderr
    seen = b""
    while text.encode() not in seen:
        ready, _, _ = select.select([process.stderr], [], [], 60)
        chunk = os.read(process.stderr.fileno(), 4096) if ready else b""
        assert chunk, f"{text!r} did not come, but {seen.decode()}"
        seen += chunk
