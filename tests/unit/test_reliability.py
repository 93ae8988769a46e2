"""docs/reliability.md names every fault that the suite strikes with, and the promise word for word."""

from __future__ import annotations

import json
import re

from tests.faults.cases import CASES
from tests.faults.table import lines, promise
from tests.services import ROOT

DOCUMENT = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_every_fault_is_in_the_table_with_its_promise() -> None:
    rows = re.findall(r"^\| ([a-z-]+) \| ([^|]+) \|", DOCUMENT, re.MULTILINE)
    documented = {name: promised for name, promised in rows if name != "fault"}
    assert documented == {case.name: promise(case) for case in CASES}


def test_no_two_faults_have_one_name() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_the_promise_is_that_of_the_readme() -> None:
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    [promised] = re.findall(r"Every image that a job was given ends.*?Not covered: loss of Milvus' own disk\.", readme)
    assert promised in " ".join(DOCUMENT.replace("> ", "").split())


def test_a_row_holds_the_middle_and_the_longest_recovery() -> None:
    report = [{"case": "redis-killed", "round": n, "recovery": seconds} for n, seconds in enumerate((1.0, 2.0, 9.0))]
    table = list(lines(json.loads(json.dumps(report))))
    assert "| redis-killed | all indexed, once | 3 | 2.0, at most 9.0 |" in table
    assert "| redis-frozen | all indexed, once | not run |  |" in table
