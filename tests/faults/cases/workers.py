"""Processes of workers, and whole workers."""

from __future__ import annotations

from tests.faults import deeds as do
from tests.faults import server_deeds as server
from tests.faults.case import Case, Fault
from tests.faults.cases.beginnings import (
    ASK,
    BEGIN,
    COMMIT,
    DECODE,
    ONE_WORKER,
    READ,
    RUN,
    SESSION,
    TWO_WORKERS,
    UPSERT,
)


def _dies(name: str, at: str, when: str, nth: int, *, do_what: str = "kill", quick: bool = False) -> Case:
    fault = Fault(at, do_what, when, nth, times=2)  # type: ignore[arg-type]
    return Case(f"killed-{name}", "a process of a worker", (*ONE_WORKER, do.struck), (fault,), quick=quick)


CASES = (
    # --- a process of a worker
    _dies("once-it-has-a-batch", BEGIN, "after", 2),
    _dies("before-it-reads", READ, "before", 20),
    _dies("while-it-decodes", DECODE, "before", 25),
    _dies("in-the-session", SESSION, "before", 2),
    _dies("before-it-stores", UPSERT, "before", 2),
    _dies("between-the-store-and-the-ledger", UPSERT, "after", 2, quick=True),
    _dies("between-the-ledger-and-the-acknowledgement", COMMIT, "after", 2),
    Case("killed-at-any-moment", "a process of a worker", (*ONE_WORKER, do.moment, do.kill_child), rounds=5),
    Case(
        "an-exception-that-nobody-expects",
        "a process of a worker",
        (*ONE_WORKER, do.struck),
        (Fault(DECODE, "surprise", nth=20, times=3),),
    ),
    Case(
        "a-session-that-fails-for-a-while",
        "a process of a worker",
        (*ONE_WORKER, do.struck),
        (Fault(RUN, "fail_session", nth=10, times=12),),
        settings={"batch_size": "1"},
        images=24,
    ),
    # --- a whole worker
    Case("worker-killed", "a worker", (*TWO_WORKERS, do.moment, do.kill_worker), rounds=3),
    Case("worker-ended", "a worker", (*TWO_WORKERS, do.moment, do.end_worker), rounds=3),
    Case(
        "worker-frozen-for-longer-than-its-lease",
        "a worker",
        (*TWO_WORKERS, do.moment, do.freeze_worker_for_longer_than_its_lease),
        images=160,
        rounds=3,
        quick=True,
    ),
    Case("worker-killed-ten-times", "a worker", (*TWO_WORKERS, do.kill_ten_times), images=320, deadline=300),
    Case(
        "all-workers-gone",
        "a worker",
        (*TWO_WORKERS, do.moment, do.kill_all_workers, do.wait(5), do.workers(), do.finished),
    ),
    Case("messages-taken-and-not-noted", "a worker", (do.workers(), do.lose_what_a_worker_took), rounds=3, quick=True),
    _dies("for-its-memory", DECODE, "before", 30, do_what="outgrow"),
    Case(
        "worker-ended-in-a-hurry",
        "a worker",
        (*TWO_WORKERS, do.moment, do.end_worker_in_a_hurry),
        images=160,
        rounds=2,
        promise="gives back its batch; all indexed, once",
    ),
    Case(
        "worker-deaf",
        "a worker",
        (do.workers(), do.index, do.replace_the_deaf_worker),
        (Fault(ASK, "omit", nth=2, times=0),),
        deadline=240,
        promise="ends by itself within a minute and a half, to be started again; all indexed, once",
    ),
    Case(
        "device-sick",
        "a worker",
        (*ONE_WORKER, server.waiting_is_told("device")),
        (Fault(RUN, "fail_session", nth=10, times=30),),
        images=160,
        deadline=240,
        promise="waits and says so, in fresh processes; fails no image; all indexed, once",
    ),
)
