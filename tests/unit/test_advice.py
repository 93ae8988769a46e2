"""One line about what holds a worker process back."""

from __future__ import annotations

from typing import Any

import pytest

from models.providers import CPU, CUDA
from workers.advice import advice, summary
from workers.clocks import STAGES
from workers.presence import Report


def report(provider: str, *, rate: float = 100.0, seconds: float = 60.0, fill: float = 1.0, **shares: float) -> Report:
    whole: Any = {stage: shares.get(stage, 0.0) for stage in STAGES}
    whole["session"] = 1 - sum(shares.values())
    return Report("host", 7, ["colour"], provider, 4, seconds, rate, fill, whole)


CASES = [
    (report(CUDA, decode=0.6, queue=0.1), "The session waits 60% of the time for decoding: raise IMAGEFLEET_DECODE_"),
    (report(CUDA, decode=0.1, store=0.3), "The session waits 30% of the time for Milvus: start a second process"),
    (report(CUDA, decode=0.1, queue=0.4), "The session waits 40% of the time for batches: if a job is running"),
    (report(CUDA, decode=0.1, queue=0.05), None),
    (report(CUDA, decode=0.1, fill=0.4), "The session runs 40% full: raise IMAGEFLEET_BATCH_SIZE"),
    (report(CUDA, queue=1.0, rate=0), None),
    (report(CUDA, search=0.5, queue=0.5, rate=0), None),
    (report(CUDA, decode=0.9, seconds=3), None),
    (report(CPU, decode=0.8), None),
    (report(CPU, decode=0.1, store=0.5), "It waits 50% of the time for Milvus"),
    (report(CPU, decode=0.1, queue=0.5), "It waits 50% of the time for batches"),
    (report(CPU, queue=1.0, rate=0), None),
]


@pytest.mark.parametrize(("given", "line"), CASES)
def test_what_is_waited_for_most_is_named(given: Report, line: str | None) -> None:
    said = advice(given)
    if line is None:
        assert said is None
    else:
        assert said is not None
        assert said.startswith(line)
        assert said.endswith(".")
        assert "\n" not in said


def test_the_log_has_figures_and_advice_in_one_line() -> None:
    assert summary(report(CUDA, decode=0.6, queue=0.1, fill=0.9)) == (
        "CUDAExecutionProvider: 100.0 images/s over 60 s; time: decode 60%, session 30%, store 0%, queue 10%;"
        " micro-batches 90% full. The session waits 60% of the time for decoding: raise IMAGEFLEET_DECODE_THREADS"
        " (now 4) or -c."
    )
    assert "search 50%" in summary(report(CPU, search=0.5))
