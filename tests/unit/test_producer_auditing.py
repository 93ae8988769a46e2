"""Counting how files stand, a page at a time, and telling it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from producer.audit_report import audit_document, audit_lines, numbers, what_next
from producer.auditing import EXAMPLES, Audit
from workers.checks import CHECK_MAX, CheckAnswer, Standing
from workers.contract import Failure, Image

ROOT = Path("/root/of/images")


def images(number: int) -> Iterator[Image]:
    return (Image(f"{n:06}.jpg", n, n) for n in range(number))


def audited(standings: dict[int, Standing], number: int = 10) -> tuple[Audit, list[Image], list[int]]:
    """An audit in which the images of these numbers differ; what it gave back, and the sizes of the pages."""
    audit, pages = Audit("colour", "images", "holiday"), list[int]()

    def check(page: Sequence[Image]) -> CheckAnswer:
        pages.append(len(page))
        found = [standings.get(image.size, "indexed") for image in page]
        failed = [image.path for image, standing in zip(page, found, strict=True) if standing == "failed"]
        failures = [Failure(path=path, kind="unreadable", reason="cut\nshort") for path in failed]
        return CheckAnswer(standings=found, failures=failures)

    return audit, list(audit.differing(images(number), check)), pages


def test_exactly_what_is_missing_or_stale_differs() -> None:
    audit, differing, _ = audited({1: "missing", 4: "stale", 7: "failed"})
    assert [image.size for image in differing] == [1, 4]
    assert numbers(audit) == {"indexed": 7, "missing": 1, "stale": 1, "orphaned": 0, "failed": 1}
    assert (audit.to_repair, audit.clean) == (2, False)


def test_a_folder_of_any_size_is_held_a_page_at_a_time() -> None:
    asked = Counter[str]()

    def endless() -> Iterator[Image]:
        for image in images(10**9):
            asked["images"] += 1
            yield image

    audit = Audit("colour", "images", "")
    differing = audit.differing(endless(), lambda page: CheckAnswer(standings=["missing"] * len(page)))
    next(differing)
    assert asked["images"] == CHECK_MAX
    assert audited({}, 2 * CHECK_MAX + 1)[2] == [CHECK_MAX, CHECK_MAX, 1]


def test_failed_files_alone_are_nothing_to_repair() -> None:
    audit, differing, _ = audited({0: "failed"})
    assert (differing, audit.clean, what_next([audit], "d")) == ([], True, None)


def test_lines_tell_numbers_examples_and_reasons() -> None:
    audit, _, _ = audited(dict.fromkeys(range(20), "missing") | {20: "failed", 21: "stale"}, 100)
    audit.rows, audit.orphaned, audit.examples["orphaned"] = 80, 1, ["gone\x1b.jpg"]
    audit.on_the_way, audit.skipped = {"0123456789ab": 1}, Counter({".txt": 2})

    lines = list(audit_lines(audit, ROOT))

    assert lines[0] == "colour: 100 images below /root/of/images/holiday, 80 rows in library images"
    assert lines[1] == "  78 indexed as they are now"
    assert lines[2] == "  20 missing (a file without a row)"
    assert lines[3] == "    /root/of/images/000000.jpg"
    assert lines[3 + EXAMPLES] == "    and 10 more"
    assert "    /root/of/images/gone\\x1b.jpg" in lines
    assert "    /root/of/images/000020.jpg: unreadable: cut\\nshort" in lines
    assert "  passed over: 2 .txt" in lines
    assert "  1 image of job 0123456789ab is on the way still" in lines


def test_what_can_be_done_names_only_what_there_is_to_do() -> None:
    missing, orphaned = audited({1: "missing"})[0], audited({})[0]
    orphaned.orphaned = 1
    assert what_next([missing], "d") == "`imagefleet audit d --repair` queues what is missing or stale."
    assert what_next([orphaned], "d") == "`imagefleet audit d --repair` removes rows without a file."
    assert "stale and removes" in (what_next([missing, orphaned], "d") or "")


def test_the_document_is_json_with_all_numbers() -> None:
    audit, _, _ = audited({1: "missing", 2: "failed"})
    document = json.loads(json.dumps(audit_document(audit, ROOT)))
    assert (document["files"], document["missing"], document["failed"], document["clean"]) == (10, 1, 1, False)
    assert document["failures"] == [{"path": "000002.jpg", "kind": "unreadable", "reason": "cut\nshort"}]


def test_another_version_in_service_is_not_clean() -> None:
    audit = audited({})[0]
    assert audit.clean
    audit.other_in_service = "f2"
    assert not audit.clean
    assert any("another version" in line for line in audit_lines(audit, ROOT))
