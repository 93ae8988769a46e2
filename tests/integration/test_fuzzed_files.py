"""Damaged files through a real worker: it survives them all, and each ends as a row or as a failure with a reason.

IMAGEFLEET_FUZZ_FILES and IMAGEFLEET_FUZZ_SEED say how many and which; `make fuzz` takes 10,000.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from models.spec import find
from tests import fuzzing
from tests.fleet import Fleet
from tests.services import ROOT
from workers.contract import FailureKind
from workers.milvus import MilvusStore

FILES = int(os.environ.get("IMAGEFLEET_FUZZ_FILES", "600"))
_SEED = os.environ.get("IMAGEFLEET_FUZZ_SEED", "20261124")
SEED = random.randrange(2**32) if _SEED == "random" else int(_SEED)
#: Seconds that one file may take on a busy machine, all in all.
SECONDS_PER_FILE = 0.5
#: Bytes that a picture may take; a process that stayed within has grown by no more than that and the session's own.
PICTURE_MEMORY = 2**30
#: Bytes that a session may come to take for its own work.
SESSION_MEMORY = 256 * 2**20
#: Of what decoders meet here nothing may end a process or take the whole of a batch's time.
KINDS = set(FailureKind.__args__) - {"crashed", "timeout", "not_found", "no_access", "refused"}  # type: ignore[attr-defined]


@pytest.mark.timeout(300 + FILES * SECONDS_PER_FILE)
def test_damaged_files_end_no_worker_and_each_is_accounted_for(fleet: Fleet) -> None:
    # Given files made of good ones by damage, and a worker of two processes
    print(f"IMAGEFLEET_FUZZ_SEED={SEED} IMAGEFLEET_FUZZ_FILES={FILES}")
    fuzzing.write(fleet.root, FILES, SEED)
    fleet.options |= {"picture_memory": PICTURE_MEMORY, "picture_seconds": 30, "batch_size": 64}
    worker = fleet.start("index.colour", processes=2).wait_ready()
    pool, before = worker.pool, [peak(pid) for pid in worker.pool]
    assert len(pool) == 2

    # When they are indexed
    client, begun = fleet.client, time.monotonic()
    (job,) = client.index([fleet.root], models=["colour"])
    state = client.wait(job, 120 + FILES * SECONDS_PER_FILE)
    took = time.monotonic() - begun

    # Then each is a row or a failure, and only once
    failures = list(client.failures(job))
    assert (state.queued, state.indexed + state.failed) == (FILES, FILES)
    assert len({failure.path for failure in failures}) == state.failed == FILES - rows(fleet)
    assert {failure.kind for failure in failures} <= KINDS
    assert all(failure.reason for failure in failures)
    # And the processes that met them still live, within their memory
    assert worker.pool == pool, worker.text[-3000:]
    grown = [peak(pid) - size for pid, size in zip(pool, before, strict=True)]
    assert max(grown) < PICTURE_MEMORY + SESSION_MEMORY
    kinds = Counter(failure.kind for failure in failures)
    print(f"{state.indexed} indexed, {dict(kinds)}, {took:.0f} s; grown by {[size // 2**20 for size in grown]} MiB")


@pytest.mark.timeout(120 + FILES * SECONDS_PER_FILE)
def test_no_damaged_file_takes_long_or_much_memory_to_decode(tmp_path: Path) -> None:
    # Given the same files, when one process decodes one after the other
    fuzzing.write(tmp_path, FILES, SEED)
    command = [sys.executable, "-m", "tests.fuzzing", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout)
    # Then it lives to say how long the slowest took
    assert done.returncode == 0, done.stderr
    found = re.match(r"slowest ([\d.]+) s .*grown by (\d+) MiB", done.stdout)
    assert found
    assert float(found[1]) < 30
    assert int(found[2]) * 2**20 < PICTURE_MEMORY


def peak(pid: int) -> int:
    """Bytes of memory that the process has held at most."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def rows(fleet: Fleet) -> int:
    store = MilvusStore.from_settings(fleet.client.settings)
    try:
        collection = store.collection(fleet.library, find("colour", fleet.client.settings.model_dir), create=False)
        return collection.count() if collection else 0
    finally:
        store.close()
