"""Redis, and the way to it."""

from __future__ import annotations

from tests.faults import deeds as do
from tests.faults import server_deeds as server
from tests.faults.case import Case
from tests.faults.cases.beginnings import ONE_WORKER, REDIS, TWO_WORKERS

CASES = (
    Case("redis-killed", "Redis", (*ONE_WORKER, do.moment, server.kill("redis"), server.restart("redis")), rounds=3),
    Case(
        "redis-restarted", "Redis", (*ONE_WORKER, do.moment, server.end("redis"), do.wait(8), server.restart("redis"))
    ),
    Case("redis-frozen", "Redis", (*ONE_WORKER, do.moment, server.freeze("redis", 30)), deadline=200),
    Case("redis-emptied", "Redis", (*ONE_WORKER, do.moment, server.empty_redis)),
    Case(
        "redis-full",
        "Redis",
        (
            *ONE_WORKER,
            do.moment,
            server.fill_redis,
            do.wait(8),
            do.the_workers_live,
            server.empty_some_of_redis,
            do.finished,
        ),
        quick=True,
    ),
    Case(
        "redis-disk-full",
        "Redis",
        (
            *(server.survive_full_disks("redis"), *ONE_WORKER, do.moment, server.fill_disk("redis"), do.wait(8)),
            *(do.the_workers_live, server.empty_disk("redis"), do.finished),
        ),
    ),
    Case("redis-cut-off", "Redis", (*ONE_WORKER, do.moment, server.cut("redis", 12)), through=REDIS, rounds=2),
    Case(
        "redis-cut-anywhere",
        "Redis",
        (*ONE_WORKER, do.moment, server.cut_after("redis", 3000), do.until_over_or(20), server.cut_after("redis", 0)),
        through=REDIS,
        images=160,
        rounds=2,
        quick=True,
    ),
    Case(
        "redis-unreachable",
        "Redis",
        (*ONE_WORKER, do.moment, server.switch("redis", "away"), do.wait(10), server.switch("redis", "pass")),
        through=REDIS,
    ),
    Case(
        "redis-silent",
        "Redis",
        (*ONE_WORKER, do.moment, server.switch("redis", "silent"), do.wait(40), server.switch("redis", "pass")),
        through=REDIS,
        deadline=200,
    ),
    Case(
        "redis-talks-nonsense",
        "Redis",
        (
            *ONE_WORKER,
            do.moment,
            server.switch("redis", "garbage"),
            do.until_over_or(15),
            server.switch("redis", "pass"),
        ),
        through=REDIS,
        images=160,
    ),
    Case("redis-slow", "Redis", (do.workers(), server.slow_down("redis", 0.05), do.index), through=REDIS),
    Case(
        "redis-clock-goes-back",
        "Redis",
        (*TWO_WORKERS, do.moment, do.turn_the_clock(-3600), do.kill_worker),
        images=160,
    ),
    Case(
        "redis-fails-over-to-an-empty-one",
        "Redis",
        (*ONE_WORKER, do.moment, server.fail_over_to_an_empty_redis),
        through=REDIS,
        promise="the job says that it lost its data; indexing again embeds what was not done",
    ),
    Case("redis-clock-goes-forward", "Redis", (*TWO_WORKERS, do.moment, do.turn_the_clock(3600)), images=160),
)
