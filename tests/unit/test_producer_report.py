"""What commands print about jobs: rates, sentences, tables; and the contact sheet."""

from __future__ import annotations

import base64
import csv
import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from producer import report
from producer.errors import CannotWrite
from producer.progress import Lines, Pace, Reading, clock
from producer.sheet import must_be_writable, sheet, write_sheet
from workers.contract import Answer, Failure, Hit, SearchAnswer
from workers.job_state import JobState

ROOT = Path("/root/of/images")
STATE = JobState(
    id="0123456789ab", library="images", model="colour", folders=("a", "b"), created=1000.0, started=1001.0,
    finished=None, changed=1005.0, walked=True, interrupted=False, producer_seen=1005.0, skipped={}, queued=400,
    batches=10, open_batches=5, indexed=90, unchanged=20, failed=10, cancelled=0, cancel_requested=False, waiting=None,
    retry_of=None, now=1010.0,
)  # fmt: skip
JPEG = base64.b64encode(b"a thumbnail").decode()


def pace(*seen: tuple[float, int]) -> Pace:
    made = Pace()
    for at, done in seen:
        made.add(at, done)
    return made


def test_the_rate_is_that_of_the_last_seconds() -> None:
    assert pace((0, 0)).rate is None
    assert pace((0, 0), (10, 500)).rate == 50
    assert pace(*((at, 1000) for at in range(100)), (100, 1060)).rate == pytest.approx(60 / 15, rel=0.1)


def test_a_count_that_does_not_move_is_noticed() -> None:
    assert pace((0, 0), (5, 10), (9, 10)).still_since == 4
    assert pace((0, 0), (5, 10)).still_since == 0


def test_time_left_is_known_when_the_walk_is_over_and_something_moves() -> None:
    assert Reading(STATE, rate=28.0).seconds_left == 10
    assert Reading(STATE, rate=0.0).seconds_left is None
    assert Reading(replace(STATE, walked=False), rate=28.0).seconds_left is None


def test_failures_that_were_not_tried_again_are_counted_apart_and_it_is_said_how_to_try() -> None:
    first, *others = report.summary_lines(replace(STATE, finished=1006.0, failed_before=7))
    assert "10 failed (7 as before)" in first
    assert (
        "7 of them have failed before and not changed since: `imagefleet retry 0123456789ab` tries again all the same."
        in others
    )
    assert "before" not in "".join(report.summary_lines(STATE))


def test_a_reading_tells_what_there_is_to_tell() -> None:
    assert Reading(STATE, rate=28.0).details == "28 images/s, 20 unchanged, 10 failed, 0:10 left"
    assert Reading(STATE, rate=1.0).details.startswith("1 image/s, ")
    assert Reading(STATE).count == "120/400"
    assert Reading(replace(STATE, walked=False)).count == "120/400+"
    assert Reading(replace(STATE, unchanged=0, failed=0)).details == ""


def test_clocks_have_hours_when_they_need_them() -> None:
    assert [clock(5), clock(59.6), clock(3600 * 30 + 61)] == ["0:05", "1:00", "30:01:01"]


def test_without_a_terminal_there_is_a_line_now_and_then_and_at_the_end() -> None:
    stream = io.StringIO()
    lines = Lines(stream, every=1000)

    lines.draw([Reading(STATE)])
    lines.draw([Reading(replace(STATE, finished=1010.0), note="never mind")])

    assert stream.getvalue() == "colour: 120/400 images, 20 unchanged, 10 failed; never mind\n"


def test_a_job_is_told_in_full() -> None:
    text = "\n".join(report.job_lines(replace(STATE, skipped={".txt": 3}, waiting="Milvus is away"), ROOT))

    assert "Job 0123456789ab: running, colour, library images" in text
    assert "/root/of/images/a, /root/of/images/b" in text
    assert "120 of 400 done: 90 indexed, 20 unchanged, 10 failed" in text
    assert "skipped  3 .txt" in text
    assert "waiting  Milvus is away" in text
    assert "10 images failed: `imagefleet failures 0123456789ab` says why." in text


def test_the_end_of_a_job_is_summed_up() -> None:
    done = replace(STATE, finished=1010.0, indexed=370)

    assert next(report.summary_lines(done)) == "colour: 370 indexed, 20 unchanged, 10 failed in 0:10, 40.0 images/s"


def test_an_interrupted_walk_says_how_to_go_on() -> None:
    stopped = replace(STATE, finished=1010.0, interrupted=True)

    assert "run the same `imagefleet index` again" in "\n".join(report.summary_lines(stopped))


def test_a_job_as_json_has_what_is_derived_too() -> None:
    document = json.loads(report.as_json(report.job_document(STATE)))

    assert (document["phase"], document["done"], document["queued"]) == ("running", 120, 400)


FAILURES = [
    Failure(path="a/\udcff.jpg", kind="unreadable", reason="cut short"),
    Failure(path="=b,\n.jpg", kind="unreadable", reason="\x1b[31m"),
    Failure(path="c.jpg", kind="not_found", reason="gone"),
]


def test_failures_are_listed_and_summed_up_by_class() -> None:
    lines = list(report.failure_lines(FAILURES, ROOT))

    assert lines[0] == "/root/of/images/a/\\xff.jpg: unreadable: cut short"
    assert lines[1] == "/root/of/images/=b,\\n.jpg: unreadable: \\x1b[31m"
    assert lines[-3:] == [
        "3 images failed:",
        "  2 unreadable (damaged or cut short)",
        "  1 not_found (there is no such file any more)",
    ]


def test_failures_as_csv_lead_back_to_the_files() -> None:
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding="utf-8", errors="surrogateescape", newline="")

    assert report.write_csv(FAILURES, stream) == 3

    stream.flush()
    text = buffer.getvalue().decode("utf-8", "surrogateescape")
    assert [row[0] for row in csv.reader(io.StringIO(text, newline=""))] == ["path", *(f.path for f in FAILURES)]


ANSWER = SearchAnswer(
    model="colour",
    library="images",
    answers=[
        Answer(
            query="<q>.jpg",
            hits=[
                Hit(path='a/"b"&\udcff.jpg', score=0.98765, rank=1, thumbnail=JPEG),
                Hit(path="c.jpg", score=-0.5, rank=2),
            ],
            thumbnail=JPEG,
        ),
        Answer(query="bad.jpg", error="It is no <picture>."),
    ],
)


def test_hits_as_json_have_no_thumbnails_and_name_the_files() -> None:
    document = report.search_document(ANSWER, ROOT)

    assert json.loads(report.as_json(document)) == document
    first = document["answers"][0]["hits"][0]
    assert first == {
        "path": 'a/"b"&\udcff.jpg',
        "score": 0.98765,
        "rank": 1,
        "file": '/root/of/images/a/"b"&\udcff.jpg',
    }
    assert document["answers"][1]["error"] == "It is no <picture>."


class Page(HTMLParser):
    """Collects what a browser would load, show and say."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.alternatives: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.addresses += [found[name] for name in ("src", "href") if name in found]
        self.alternatives += [found[name] for name in ("alt", "aria-label") if name in found]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_sheet_is_one_whole_page_that_loads_nothing_else() -> None:
    page = Page(sheet(ANSWER, ROOT))

    assert page.open == []
    assert {address.split(":")[0] for address in page.addresses} == {"data", "file"}
    assert "title" in page.tags
    assert "script" not in page.tags


def test_the_sheet_shows_queries_hits_and_errors_with_every_name_escaped() -> None:
    page = Page(sheet(ANSWER, ROOT))

    assert "<q>.jpg" in page.text
    assert "1. 0.9877" in page.text
    assert 'a/"b"&\\xff.jpg' in page.text
    assert "It is no <picture>." in page.text
    assert page.alternatives == ["Query <q>.jpg", 'Hit 1: a/"b"&\\xff.jpg', "Hit 2: c.jpg", "Query bad.jpg"]
    assert page.tags.count("img") == 2


def test_only_base64_gets_into_the_sheet() -> None:
    bad = Answer(query="q", hits=[Hit(path="a.jpg", score=1.0, rank=1, thumbnail='"><script>alert(1)</script>')])

    page = Page(sheet(SearchAnswer(model="m", library="l", answers=[bad]), ROOT))

    assert "script" not in page.tags
    assert "img" not in page.tags


def test_a_sheet_replaces_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "sheet.html"
    file.write_text("x" * 100_000)

    must_be_writable(file)
    write_sheet(ANSWER, ROOT, file)

    assert file.read_text() == sheet(ANSWER, ROOT)


def test_a_sheet_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    for file in (tmp_path / "no" / "sheet.html", tmp_path):
        with pytest.raises(CannotWrite, match="name another file"):
            must_be_writable(file)
        with pytest.raises(CannotWrite, match="name another file"):
            write_sheet(ANSWER, ROOT, file)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full disk to try")
def test_a_full_disk_is_an_error() -> None:
    with pytest.raises(CannotWrite, match="No space left"):
        write_sheet(ANSWER, ROOT, Path("/dev/full"))
