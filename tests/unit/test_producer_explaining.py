"""The first reason that fits why an image is found or not, from facts alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from producer.explaining import Facts, Verdict, also, covers, explain, near
from workers.checks import Nearness, PastFailure, StoredImage, WhyAnswer
from workers.contract import Failure, Image
from workers.job_state import JobState

PATH = "holiday/a.jpg"
FILE = Image(PATH, 10, 100)
JOB = JobState(
    id="0123456789ab", library="images", model="colour", folders=("holiday",), created=1000.0, started=1001.0,
    finished=1010.0, changed=1005.0, walked=True, interrupted=False, producer_seen=1005.0, skipped={}, queued=400,
    batches=10, open_batches=0, indexed=400, unchanged=0, failed=0, cancelled=0, cancel_requested=False, waiting=None,
    retry_of=None, now=1010.0,
)  # fmt: skip
ROW = StoredImage(size=10, mtime_ns=100, indexed_at=900)
CHANGED_ROW = StoredImage(size=10, mtime_ns=99, indexed_at=900)
BROKEN = PastFailure(kind="unreadable", reason="It is\ncut short.", job=JOB.id, when=950, same=True)
BLANK = Facts(path=PATH, file=FILE, changed=500.0, skipped=None, known=WhyAnswer(), jobs=[])


def known(**fields: object) -> Facts:
    return replace(BLANK, known=WhyAnswer.model_validate(fields))


LISTED = (JOB, Failure(path=PATH, kind="not_found", reason="There is no such file."))


@pytest.mark.parametrize(
    ("facts", "verdict", "says"),
    [
        (known(row=ROW), "indexed", "has not changed since"),
        (replace(known(row=ROW), skipped=".xyz"), "indexed", "has not changed since"),
        (known(row=CHANGED_ROW), "stale", "`imagefleet index` brings it up to date"),
        (replace(known(row=ROW), file=None), "orphaned", "`imagefleet prune` on holiday"),
        (replace(BLANK, file=None), "not_there", "none is known"),
        (replace(BLANK, file=None, listed=LISTED), "not_there", "job 0123456789ab has found too"),
        (replace(BLANK, batch=(JOB.id, 7)), "queued", "In batch 7 of job 0123456789ab"),
        (replace(known(failure=BROKEN), batch=(JOB.id, 7)), "queued", "In batch 7"),
        (known(failure=BROKEN), "failed", "unreadable: It is\\ncut short. That was in job 0123456789ab on 1970-01-01"),
        (known(failure=BROKEN, row=CHANGED_ROW), "failed", "at once by `imagefleet index --retry-failed`"),
        (known(failure=BROKEN.model_copy(update={"kind": "refused"})), "failed", "The next `imagefleet index` tries"),
        (known(failure=BROKEN.model_copy(update={"same": False})), "failed", "changed since: the next"),
        (replace(BLANK, listed=LISTED), "failed", "not_found: There is no such file."),
        (replace(BLANK, skipped=".xyz"), "skipped", "passes over it: .xyz."),
        (BLANK, "never_seen", "No job that is remembered was given it"),
        (replace(BLANK, jobs=[replace(JOB, folders=("holi",))]), "never_seen", "No job that is remembered"),
        (replace(BLANK, jobs=[replace(JOB, cancel_requested=True)]), "cancelled", "was cancelled before all was done"),
        (replace(BLANK, jobs=[replace(JOB, interrupted=True)]), "interrupted", "may not have come to it"),
        (replace(BLANK, jobs=[replace(JOB, finished=None, walked=False)]), "queued", "walks its folder now"),
        (replace(BLANK, jobs=[JOB], changed=1001.0), "never_seen", "came there after job 0123456789ab"),
        (replace(BLANK, jobs=[JOB]), "lost", "`imagefleet audit --repair`"),
        (replace(BLANK, jobs=[JOB, replace(JOB, cancel_requested=True)]), "lost", "walked its folder"),
    ],
)  # fmt: skip
def test_the_first_reason_that_fits_is_told(facts: Facts, verdict: Verdict, says: str) -> None:
    found, sentence = explain(facts)
    assert found == verdict
    assert says in sentence


def test_a_row_of_former_content_is_mentioned_beside_its_failure() -> None:
    assert "Searches still find" in also(known(failure=BROKEN, row=CHANGED_ROW))[0]
    assert also(known(failure=BROKEN)) == also(known(row=ROW)) == []


def test_another_version_in_service_is_mentioned() -> None:
    assert "another version" in also(known(row=ROW, other_in_service="abc"))[0]


@pytest.mark.parametrize(
    ("folders", "given"),
    [(("",), True), (("holiday",), True), (("holiday/a.jpg",), True), (("holi",), False), (("(list)",), False)],
)
def test_a_job_is_over_a_path_when_it_walked_a_folder_above_it(folders: tuple[str, ...], given: bool) -> None:
    assert covers(replace(JOB, folders=folders), PATH) == given


def test_rank_and_score_are_told_in_one_sentence() -> None:
    third = Nearness(rank=3, score=0.81234, last_score=0.5, hits=40)
    assert near(third, "q\x1b.jpg") == "For q\\x1b.jpg: rank 3 of 40 hits, score 0.8123."
    beyond = Nearness(rank=None, score=0.25, last_score=0.5, hits=1000)
    assert near(beyond, "q") == "For q: beyond rank 1,000, score 0.2500 (the last of 1,000 hits has 0.5000)."
    overlooked = Nearness(rank=None, score=0.75, last_score=0.5, hits=1000, overlooked=True)
    assert "the index overlooked it, score 0.7500" in near(overlooked, "q")
