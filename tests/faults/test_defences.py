"""The defences are needed: without each of these, what it is there for happens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults import deeds as do
from tests.faults.case import Case, Fault, rng
from tests.faults.city import INSIDE, City
from tests.faults.test_faults import SEED
from tests.services import ROOT
from workers import ledger_scripts
from workers.contract import BatchMessage, Image
from workers.leases import Leases
from workers.ledger import JobSpec, Ledger, connect

#: Seconds after which nothing will come any more; with the defence it takes a few.
LONG_ENOUGH = 20.0


@contextmanager
def without(folder: Path, defence: str, story: tuple[do.Deed, ...]) -> Iterator[City]:
    """A city to which that happened while a function of the product did nothing."""
    case = Case("without", "defences", story, (Fault(defence, "omit", times=0),), images=32)
    city = City(folder, case, rng(SEED, case, 0))
    try:
        for deed in case.story:
            deed(city)
        yield city
    finally:
        city.close()


@pytest.fixture(autouse=True)
def _reach_into_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{INSIDE}{os.pathsep}{ROOT}")


@pytest.mark.slow
def test_without_the_reconciler_a_message_that_was_taken_and_not_noted_is_lost(tmp_path: Path) -> None:
    story = (do.workers(), do.lose_what_a_worker_took)
    with (
        without(tmp_path, "workers.reconciler:Reconciler.look", story) as city,
        pytest.raises(AssertionError, match="the end of the jobs"),
    ):
        city.wait(lambda: do.over(city), "the end of the jobs", LONG_ENOUGH)


@pytest.mark.slow
def test_without_our_transport_a_message_that_is_no_envelope_ends_the_worker(tmp_path: Path) -> None:
    with without(tmp_path, "workers.transport:use", (do.workers(), do.send_nonsense)) as city:
        city.wait(lambda: not city.workers, "the end of the worker", LONG_ENOUGH)


_BIT = "if redis.call('SETBIT', job_key(job) .. ':done', n, 1) == 1 then return false end"


@pytest.mark.parametrize(("bit", "counted"), [(True, 1), (False, 2)])
def test_without_its_bit_a_batch_that_is_committed_twice_counts_twice(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, bit: bool, counted: int
) -> None:
    assert _BIT in ledger_scripts.PRELUDE
    if not bit:
        monkeypatch.setattr(ledger_scripts, "PRELUDE", ledger_scripts.PRELUDE.replace(_BIT, ""))
    with connect(redis_url) as redis:
        ledger, leases = Ledger(redis), Leases(redis, "a")
        job = ledger.create_job(JobSpec("images", "colour", ("",)))
        number = ledger.open_batch(job, [Image("a.png", 1, 1)])
        assert number is not None
        message = BatchMessage(job=job, batch=number, count=1)
        for _ in range(2):
            leases.commit(message, 1, 0, [])
        state = ledger.job(job)
    assert state is not None
    assert state.indexed == counted
