"""The table: every fault that the system is held to, what is done, when, and how often."""

from __future__ import annotations

from tests.faults import deeds as do
from tests.faults.case import Case, Fault

# Where a batch is while it is worked on.
BEGIN = "workers.leases:Leases.begin"
KNOWN = "workers.milvus_collection:MilvusCollection.known"
READ = "workers.image_root:ImageRoot.read"
DECODE = "models.encoder:Encoder.prepare"
PIXELS = "PIL.Image:open"
SESSION = "models.encoder:Encoder.encode"
RUN = "models.encoder:run"
UPSERT = "workers.milvus_collection:MilvusCollection.upsert"
COMMIT = "workers.leases:Leases.commit"

_ONE = (do.workers(), do.index)
_TWO = (do.workers(2), do.index)
_REDIS, _MILVUS = frozenset[do.Part]({"redis"}), frozenset[do.Part]({"milvus"})
# Short enough that what hangs is ended while a test waits; the hard limit is 30 s above it.
_HASTY = {"batch_seconds": "5"}


def _dies(name: str, at: str, when: str, nth: int, *, quick: bool = False) -> Case:
    fault = Fault(at, "kill", when, nth, times=2)  # type: ignore[arg-type]
    return Case(f"killed-{name}", "a process of a worker", (*_ONE, do.struck), (fault,), quick=quick)


CASES = (
    # --- a process of a worker
    _dies("once-it-has-a-batch", BEGIN, "after", 2),
    _dies("before-it-reads", READ, "before", 20),
    _dies("while-it-decodes", DECODE, "before", 25),
    _dies("in-the-session", SESSION, "before", 2),
    _dies("before-it-stores", UPSERT, "before", 2),
    _dies("between-the-store-and-the-ledger", UPSERT, "after", 2, quick=True),
    _dies("between-the-ledger-and-the-acknowledgement", COMMIT, "after", 2),
    Case("killed-at-any-moment", "a process of a worker", (*_ONE, do.moment, do.kill_child), rounds=5),
    Case(
        "an-exception-that-nobody-expects",
        "a process of a worker",
        (*_ONE, do.struck),
        (Fault(DECODE, "surprise", nth=20, times=3),),
    ),
    Case(
        "a-session-that-fails-for-a-while",
        "a process of a worker",
        (*_ONE, do.struck),
        (Fault(RUN, "fail_session", nth=10, times=12),),
        settings={"batch_size": "1"},
        images=24,
    ),
    # --- a whole worker
    Case("worker-killed", "a worker", (*_TWO, do.moment, do.kill_worker), rounds=3),
    Case("worker-ended", "a worker", (*_TWO, do.moment, do.end_worker), rounds=3),
    Case(
        "worker-frozen-for-longer-than-its-lease",
        "a worker",
        (*_TWO, do.moment, do.freeze_worker_for_longer_than_its_lease),
        images=160,
        rounds=3,
        quick=True,
    ),
    Case("worker-killed-ten-times", "a worker", (*_TWO, do.kill_ten_times), images=320, deadline=300),
    Case(
        "all-workers-gone", "a worker", (*_TWO, do.moment, do.kill_all_workers, do.wait(5), do.workers(), do.finished)
    ),
    Case("messages-taken-and-not-noted", "a worker", (do.workers(), do.lose_what_a_worker_took), rounds=3, quick=True),
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
    Case("cancelled", "messages", (*_ONE, do.moment, do.cancel)),
    Case("forgotten", "messages", (do.index, do.forget_job, do.workers(), do.index, do.finished)),
    # --- Redis
    Case("redis-killed", "Redis", (*_ONE, do.moment, do.kill("redis"), do.restart("redis")), rounds=3),
    Case("redis-restarted", "Redis", (*_ONE, do.moment, do.end("redis"), do.wait(8), do.restart("redis"))),
    Case("redis-frozen", "Redis", (*_ONE, do.moment, do.freeze("redis", 30)), deadline=200),
    Case("redis-emptied", "Redis", (*_ONE, do.moment, do.empty_redis)),
    Case(
        "redis-full",
        "Redis",
        (*_ONE, do.moment, do.fill_redis, do.wait(8), do.the_workers_live, do.empty_some_of_redis, do.finished),
        quick=True,
    ),
    Case(
        "redis-disk-full",
        "Redis",
        (
            *(do.survive_full_disks("redis"), *_ONE, do.moment, do.fill_disk("redis"), do.wait(8)),
            *(do.the_workers_live, do.empty_disk("redis"), do.finished),
        ),
    ),
    Case("redis-cut-off", "Redis", (*_ONE, do.moment, do.cut("redis", 12)), through=_REDIS, rounds=2),
    Case(
        "redis-cut-anywhere",
        "Redis",
        (*_ONE, do.moment, do.cut_after("redis", 3000), do.until_over_or(20), do.cut_after("redis", 0)),
        through=_REDIS,
        images=160,
        rounds=2,
        quick=True,
    ),
    Case(
        "redis-unreachable",
        "Redis",
        (*_ONE, do.moment, do.switch("redis", "away"), do.wait(10), do.switch("redis", "pass")),
        through=_REDIS,
    ),
    Case(
        "redis-silent",
        "Redis",
        (*_ONE, do.moment, do.switch("redis", "silent"), do.wait(40), do.switch("redis", "pass")),
        through=_REDIS,
        deadline=200,
    ),
    Case(
        "redis-talks-nonsense",
        "Redis",
        (*_ONE, do.moment, do.switch("redis", "garbage"), do.until_over_or(15), do.switch("redis", "pass")),
        through=_REDIS,
        images=160,
    ),
    Case("redis-slow", "Redis", (do.workers(), do.slow_down("redis", 0.05), do.index), through=_REDIS),
    Case("redis-clock-goes-back", "Redis", (*_TWO, do.moment, do.turn_the_clock_back, do.kill_worker), images=160),
    # --- Milvus
    Case(
        "milvus-down-at-first",
        "Milvus",
        (do.kill("milvus"), *_ONE, do.waiting_is_told("Milvus"), do.restart("milvus")),
    ),
    Case("milvus-killed", "Milvus", (*_ONE, do.moment, do.kill("milvus"), do.wait(3), do.restart("milvus")), rounds=3),
    Case("milvus-frozen", "Milvus", (*_ONE, do.moment, do.freeze("milvus", 20)), deadline=200),
    Case("milvus-slow", "Milvus", (do.workers(), do.slow_down("milvus", 0.4), do.index), through=_MILVUS, images=48),
    Case("milvus-cut-off", "Milvus", (*_ONE, do.moment, do.cut("milvus", 8)), through=_MILVUS, rounds=2),
    Case(
        "milvus-silent",
        "Milvus",
        (*_ONE, do.moment, do.switch("milvus", "silent"), do.waiting_is_told("Milvus"), do.switch("milvus", "pass")),
        through=_MILVUS,
        deadline=200,
    ),
    Case("milvus-refuses-once", "Milvus", (*_ONE, do.struck), (Fault(UPSERT, "refuse", nth=2, seconds=65535),)),
    Case("milvus-limits-the-rate", "Milvus", (*_ONE, do.struck), (Fault(UPSERT, "refuse", nth=2, times=4, seconds=8),)),
    Case(
        "milvus-collection-dropped",
        "Milvus",
        (*_ONE, do.moment, do.drop_collection, do.finished),
        mended_by_indexing_again=True,
        images=160,
    ),
    Case(
        "milvus-disk-full",
        "Milvus",
        (*_ONE, do.moment, do.fill_disk("milvus"), do.waiting_is_told("Milvus"), do.empty_disk("milvus")),
    ),
    # --- pictures
    Case(
        "picture-crashes-the-process",
        "pictures",
        (do.mark_picture("DEADLY"), *_ONE),
        (Fault(DECODE, "crash", times=0, marker="DEADLY"),),
        failed={"crashed": 1},
        images=48,
        deadline=250,
        quick=True,
    ),
    Case(
        "picture-takes-for-ever",
        "pictures",
        (do.mark_picture("SLOW"), *_ONE),
        (Fault(DECODE, "hang", times=0, marker="SLOW"),),
        failed={"timeout": 1},
        settings=_HASTY,
        images=48,
        deadline=250,
    ),
    Case(
        "picture-hangs-in-the-decoder",
        "pictures",
        (do.mark_picture("STUCK"), *_ONE),
        (Fault(DECODE, "hang_deaf", times=0, marker="STUCK"),),
        failed={"crashed": 1},
        settings=_HASTY | {"batch_size": "2"},
        images=12,
        deadline=400,
    ),
    Case(
        "picture-eats-memory",
        "pictures",
        (do.mark_picture("HUNGRY"), do.workers(), do.limit_memory(4096), do.index),
        (Fault(PIXELS, "eat_memory", times=0, marker="HUNGRY"),),
        failed={"too_large": 1},
    ),
    Case(
        "files-change-before-they-are-read",
        "pictures",
        (do.index, do.spoil_files, do.workers()),
        failed={"unreadable": 1, "not_found": 1, "refused": 1},
    ),
    Case(
        "image-root-gone",
        "pictures",
        (*_ONE, do.moment, do.take_root_away, do.waiting_is_told("image root"), do.bring_root_back),
    ),
    Case(
        "image-root-not-mounted",
        "pictures",
        (*_ONE, do.moment, do.empty_root, do.waiting_is_told("image root"), do.bring_root_back),
    ),
    # --- jobs beside each other
    Case("two-jobs-over-one-folder", "jobs", (do.workers(2), do.index_twice_at_once)),
)
