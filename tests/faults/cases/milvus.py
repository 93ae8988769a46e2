"""Milvus, and the way to it."""

from __future__ import annotations

from tests.faults import deeds as do
from tests.faults import server_deeds as server
from tests.faults.case import Case, Fault
from tests.faults.cases.beginnings import MILVUS, ONE_WORKER, TWO_WORKERS, UPSERT

CASES = (
    Case(
        "milvus-down-at-first",
        "Milvus",
        (server.kill("milvus"), *ONE_WORKER, server.waiting_is_told("Milvus"), server.restart("milvus")),
    ),
    Case(
        "milvus-killed",
        "Milvus",
        (*ONE_WORKER, do.moment, server.kill("milvus"), do.wait(3), server.restart("milvus")),
        rounds=3,
    ),
    Case("milvus-frozen", "Milvus", (*ONE_WORKER, do.moment, server.freeze("milvus", 20)), deadline=200),
    Case("milvus-slow", "Milvus", (do.workers(), server.slow_down("milvus", 0.4), do.index), through=MILVUS, images=48),
    Case("milvus-cut-off", "Milvus", (*ONE_WORKER, do.moment, server.cut("milvus", 8)), through=MILVUS, rounds=2),
    Case(
        "milvus-silent",
        "Milvus",
        (
            *ONE_WORKER,
            do.moment,
            server.switch("milvus", "silent"),
            server.waiting_is_told("Milvus"),
            server.switch("milvus", "pass"),
        ),
        through=MILVUS,
        deadline=200,
    ),
    Case("milvus-refuses-once", "Milvus", (*ONE_WORKER, do.struck), (Fault(UPSERT, "refuse", nth=2, seconds=65535),)),
    Case(
        "milvus-limits-the-rate",
        "Milvus",
        (*ONE_WORKER, do.struck),
        (Fault(UPSERT, "refuse", nth=2, times=4, seconds=8),),
    ),
    Case(
        "milvus-collection-dropped",
        "Milvus",
        (*ONE_WORKER, do.moment, server.drop_collection, do.finished),
        mended_by_indexing_again=True,
        images=160,
    ),
    Case(
        "milvus-disk-full",
        "Milvus",
        (
            *ONE_WORKER,
            do.moment,
            server.fill_disk("milvus"),
            server.waiting_is_told("Milvus"),
            server.empty_disk("milvus"),
        ),
    ),
    Case(
        "milvus-killed-under-several-writers",
        "Milvus",
        (do.workers(2, 2), do.index, do.moment, server.kill("milvus"), do.wait(2), server.restart("milvus")),
        images=320,
        rounds=3,
    ),
    # --- a Milvus server in place of Milvus Lite
    Case(
        "milvus-server-killed",
        "Milvus server",
        (*TWO_WORKERS, do.moment, server.kill("milvus"), server.restart("milvus")),
        milvus_server=True,
        images=160,
        deadline=300,
    ),
    Case(
        "milvus-server-frozen",
        "Milvus server",
        (*TWO_WORKERS, do.moment, server.freeze("milvus", 20)),
        milvus_server=True,
        images=160,
        deadline=300,
    ),
    Case(
        "milvus-server-disk-full",
        "Milvus server",
        (*ONE_WORKER, do.moment, server.fill_disk("milvus"), do.wait(10), server.empty_disk("milvus")),
        milvus_server=True,
        images=160,
        deadline=300,
    ),
    Case(
        "milvus-server-cut-off",
        "Milvus server",
        (*TWO_WORKERS, do.moment, server.cut("milvus", 8)),
        milvus_server=True,
        through=MILVUS,
        images=160,
        deadline=300,
    ),
)
