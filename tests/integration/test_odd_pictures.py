"""Every odd, broken and hostile file of the shared collections through a real worker, in one job."""

from __future__ import annotations

import io
import os

from tests.data import IMAGES, needs_shared_data
from tests.fleet import Fleet
from workers.contract import FailureKind

#: Seconds for a thousand small files, most of them odd, on a busy machine.
ODD_SECONDS = 300.0


@needs_shared_data
def test_every_odd_file_is_indexed_or_listed_with_a_reason_and_no_worker_dies(fleet: Fleet) -> None:
    # Given all files of both collections, whatever their names end in
    fleet.options["image_root"] = IMAGES
    files = [file for name in ("odd-pillow", "pngsuite") for file in (IMAGES / name).rglob("*") if file.is_file()]
    worker = fleet.start("index.colour").wait_ready()
    (pool_process,) = worker.pool

    # When they are indexed by name
    client = fleet.client
    listed = io.BytesIO(b"\0".join(os.fsencode(file) for file in files))
    (job,) = client.feed(client.listed(listed, null=True), models=["colour"])
    state = client.wait(job, ODD_SECONDS)

    # Then each is accounted for, and the process that met them all still lives
    failures = {failure.path: failure for failure in client.failures(job)}
    assert state.queued == len(files)
    assert state.indexed + state.failed == len(files)
    assert len(failures) == state.failed
    assert all(failure.reason and failure.kind in kinds for failure in failures.values())
    assert state.indexed > 500
    assert worker.pool == [pool_process]
    assert failures["odd-pillow/l2rgb_read.bmp"].kind == "too_large"


kinds = set(FailureKind.__args__) - {"crashed", "timeout", "not_found"}  # type: ignore[attr-defined]
