"""Prints the table of docs/reliability.md from the report of a run: `python -m tests.faults.table REPORT.jsonl`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

from tests.faults.case import PROMISE, Case
from tests.faults.cases import CASES

HEAD = ("| fault | what is promised | rounds | recovery, s |", "|---|---|---|---|")


def lines(report: Iterable[dict[str, Any]]) -> Iterator[str]:
    """A heading and a table for each part; `recovery` is from the end of the fault to the next image."""
    passed = list(report)
    for part, cases in groupby(sorted(CASES, key=_part), key=lambda case: case.part):
        yield from (f"### {part[:1].upper()}{part[1:]}", "", *HEAD)
        yield from (_row(case, [line for line in passed if line["case"] == case.name]) for case in cases)
        yield ""


def _part(case: Case) -> int:
    return [case.part for case in CASES].index(case.part)


def _row(case: Case, passed: list[dict[str, Any]]) -> str:
    rounds = str(len({line["round"] for line in passed})) if passed else "not run"
    return f"| {case.name} | {promise(case)} | {rounds} | {_recovery(passed)} |"


def promise(case: Case) -> str:
    """In words."""
    failed = ", ".join(f"{count} listed as `{kind}`" for kind, count in case.failed.items())
    return case.promise or (f"{failed}; all others indexed, once" if failed else PROMISE)


def _recovery(passed: list[dict[str, Any]]) -> str:
    """The middle, and the longest where there were several."""
    found = [line["recovery"] for line in passed if line["recovery"] is not None]
    if not found:
        return ""
    middle = f"{median(found):.1f}"
    return middle if len(found) == 1 else f"{middle}, at most {max(found):.1f}"


if __name__ == "__main__":
    with Path(sys.argv[1]).open(encoding="utf-8") as file:
        print("\n".join(lines(map(json.loads, file))).rstrip())
