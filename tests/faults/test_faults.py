"""Runs the table of faults: each case at random moments, each ending with the same audit.

IMAGEFLEET_FAULT_SEED chooses the moments: the same ones each time, unless it says otherwise; `random` makes a new seed.
The seed is printed. IMAGEFLEET_FAULT_REPORT names a file that gets a line for each case.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.faults.audit import audit
from tests.faults.case import Case, rng
from tests.faults.cases import CASES
from tests.faults.city import INSIDE, City
from tests.faults.stack import Stack
from tests.services import ROOT

SEED = os.environ.get("IMAGEFLEET_FAULT_SEED") or "imagefleet"
if SEED == "random":
    SEED = os.urandom(4).hex()


def run(case: Case, round_: int) -> object:
    slow = [] if case.quick and round_ == 0 else [pytest.mark.slow]
    marks = [pytest.mark.timeout(2 * case.deadline + 180), *slow]
    return pytest.param(case, round_, id=f"{case.name}-{round_}", marks=marks)


@pytest.mark.parametrize(("case", "round_"), [run(case, round_) for case in CASES for round_ in range(case.rounds)])
def test_nothing_is_lost_and_nothing_is_twice(
    case: Case, round_: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(f"IMAGEFLEET_FAULT_SEED={SEED}")
    monkeypatch.setenv("PYTHONPATH", f"{INSIDE}{os.pathsep}{ROOT}")
    begun = time.monotonic()
    city = {"city": City, "stack": Stack}[case.home](tmp_path, case, rng(SEED, case, round_))
    try:
        for deed in case.story:
            deed(city)
        city.measure()
        city.wait(lambda: all(map(city.is_over, city.jobs)), "the end of the jobs")
        audit(city)
    except BaseException:
        print(city.report())
        raise
    finally:
        city.close()
    note(case.name, round_, time.monotonic() - begun, city.recovery)


def note(name: str, round_: int, seconds: float, recovery: float | None) -> None:
    if path := os.environ.get("IMAGEFLEET_FAULT_REPORT"):
        line = {"case": name, "round": round_, "seed": SEED, "seconds": round(seconds, 1)}
        with Path(path).open("a", encoding="utf-8") as file:
            print(json.dumps(line | {"recovery": recovery and round(recovery, 1)}), file=file)
