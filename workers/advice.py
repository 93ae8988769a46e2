"""What a worker process's figures say, in a line, and what to do where its device idles."""

from __future__ import annotations

from models.providers import CPU
from workers.presence import Report

#: Seconds of figures below which nothing is advised.
ENOUGH = 10.0
#: Share of the time that an accelerator may idle, and that a process on the CPU may wait, before something is advised.
IDLE, WAITING = 0.2, 0.3
#: Share of the session's places that must hold a picture.
FULL = 0.7


def advice(report: Report) -> str | None:
    """One line about what holds this process back most; none where nothing does, or too little is known."""
    if report.seconds < ENOUGH or not report.rate:
        return None
    return _on_the_cpu(report) if report.provider == CPU else _on_a_device(report)


def summary(report: Report) -> str:
    """For the log: the figures, and the advice if there is one."""
    shares = ", ".join(f"{stage} {share:.0%}" for stage, share in report.shares.items() if share or stage != "search")
    fill = "" if report.fill is None else f"; micro-batches {report.fill:.0%} full"
    line = f"{report.provider}: {report.rate:.1f} images/s over {report.seconds:.0f} s; time: {shares}{fill}."
    return " ".join(part for part in (line, advice(report)) if part)


def _on_a_device(report: Report) -> str | None:
    shares = report.shares
    if 1 - shares["session"] - shares["search"] > IDLE:
        waits = {stage: share for stage, share in shares.items() if stage in ("decode", "store", "queue")}
        worst = max(waits, key=lambda stage: waits[stage])
        if worst == "decode":
            return (
                f"The session waits {shares['decode']:.0%} of the time for decoding: raise IMAGEFLEET_DECODE_THREADS"
                f" (now {report.decode_threads}) or -c."
            )
        if worst == "store":
            return (
                f"The session waits {shares['store']:.0%} of the time for Milvus: start a second process on the device"
                " (-c), or see to the load of Milvus."
            )
        return (
            f"The session waits {shares['queue']:.0%} of the time for batches: if a job is running, start a second"
            " process on the device (-c) and raise IMAGEFLEET_BATCH_SIZE."
        )
    if report.fill is not None and report.fill < FULL:
        return f"The session runs {report.fill:.0%} full: raise IMAGEFLEET_BATCH_SIZE, or lower IMAGEFLEET_MICRO_BATCH."
    return None


def _on_the_cpu(report: Report) -> str | None:
    """Decoding is work there, and waits for nothing."""
    shares = report.shares
    if shares["store"] > WAITING and shares["store"] >= shares["queue"]:
        return f"It waits {shares['store']:.0%} of the time for Milvus: see to its load, raise IMAGEFLEET_BATCH_SIZE."
    if shares["queue"] > WAITING:
        return (
            f"It waits {shares['queue']:.0%} of the time for batches: if a job is running, more processes would not"
            " make it quicker."
        )
    return None
