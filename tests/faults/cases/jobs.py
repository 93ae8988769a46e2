"""Producers, messages, and jobs beside each other."""

from __future__ import annotations

from tests.faults import deeds as do
from tests.faults.case import Case
from tests.faults.cases.beginnings import ONE_WORKER, TWO_WORKERS
from tests.faults.stack import cut_the_power, kill_all, kill_up, up_again

CASES = (
    # --- the producer
    Case("producer-killed", "the producer", (do.workers(), do.kill_producer_in_the_middle), rounds=2),
    # --- messages
    Case("a-lost-queue", "messages", (do.index, do.lose_the_queue, do.workers()), rounds=1),
    Case("each-batch-twice", "messages", (do.index, do.deliver_each_batch(2), do.workers(1, 2))),
    Case("each-batch-five-times", "messages", (do.index, do.deliver_each_batch(5), do.workers(2, 2))),
    Case("each-batch-fifty-times", "messages", (do.index, do.deliver_each_batch(50), do.workers(2, 2))),
    Case("out-of-order", "messages", (do.index, do.turn_the_queue_round, do.workers())),
    Case("an-older-version", "messages", (do.index, do.send_messages_of_an_older_version, do.workers())),
    Case(
        "nonsense",
        "messages",
        (do.workers(), do.send_nonsense, do.index, do.finished, do.nothing_was_unpickled, do.the_workers_live),
        quick=True,
    ),
    Case("cancelled", "messages", (*ONE_WORKER, do.moment, do.cancel)),
    Case("forgotten", "messages", (do.index, do.forget_job, do.workers(), do.index, do.finished)),
    # --- jobs beside each other
    Case("two-jobs-over-one-folder", "jobs", (do.workers(2), do.index_twice_at_once)),
    Case(
        "two-models",
        "jobs",
        (*TWO_WORKERS, do.moment, do.kill_worker),
        models=("colour", "gradient"),
        promise="all indexed, once in each collection",
    ),
    Case(
        "two-libraries",
        "jobs",
        (*TWO_WORKERS, do.moment, do.kill_worker),
        libraries=2,
        promise="all indexed, once in each collection",
    ),
    Case(
        "index-and-prune-at-once",
        "jobs",
        (do.workers(2), do.index, do.finished, do.index_and_prune_at_once),
        rounds=2,
        promise="what is deleted goes, and nothing else",
    ),
    # --- everything on one machine
    Case("up-killed", "`imagefleet up`", (do.index, do.moment, kill_up, up_again), images=320, home="stack"),
    Case(
        "up-and-all-its-programs-killed",
        "`imagefleet up`",
        (do.index, do.moment, kill_all, up_again),
        images=320,
        home="stack",
    ),
    Case(
        "power-cut",
        "`imagefleet up`",
        (do.index, do.moment, cut_the_power),
        images=320,
        home="stack",
        mended_by_indexing_again=True,
        promise="the job ends; indexing again brings back what the disk had not got yet",
    ),
)
