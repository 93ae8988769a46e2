"""Pictures, and the folder that they are in."""

from __future__ import annotations

from tests.faults import deeds as do
from tests.faults import file_deeds as files
from tests.faults import server_deeds as server
from tests.faults.case import Case, Fault
from tests.faults.cases.beginnings import DECODE, ONE_WORKER, OPEN_FILE, PIXELS

# Short enough that what hangs is ended while a test waits; the hard limit is 30 s above it.
_HASTY = {"batch_seconds": "5"}

CASES = (
    Case(
        "picture-crashes-the-process",
        "pictures",
        (files.mark_picture("DEADLY"), *ONE_WORKER),
        (Fault(DECODE, "crash", times=0, marker="DEADLY"),),
        failed={"crashed": 1},
        images=48,
        deadline=250,
        quick=True,
    ),
    Case(
        "query-crashes-the-process",
        "pictures",
        (do.workers(), do.index, do.finished, do.ask_with("DEADLY")),
        (Fault(DECODE, "crash", times=0, marker="DEADLY"),),
        images=12,
        promise="the search says that its picture is to blame, and the next one is answered",
        quick=True,
    ),
    Case(
        "picture-takes-for-ever",
        "pictures",
        (files.mark_picture("SLOW"), *ONE_WORKER),
        (Fault(DECODE, "hang", times=0, marker="SLOW"),),
        failed={"timeout": 1},
        settings=_HASTY,
        images=48,
        deadline=250,
    ),
    Case(
        "picture-hangs-in-the-decoder",
        "pictures",
        (files.mark_picture("STUCK"), *ONE_WORKER),
        (Fault(DECODE, "hang_deaf", times=0, marker="STUCK"),),
        failed={"crashed": 1},
        settings=_HASTY | {"batch_size": "2"},
        images=12,
        deadline=400,
    ),
    Case(
        "picture-eats-memory",
        "pictures",
        (files.mark_picture("HUNGRY"), do.workers(), server.limit_memory(4096), do.index),
        (Fault(PIXELS, "eat_memory", times=0, marker="HUNGRY"),),
        failed={"too_large": 1},
    ),
    Case(
        "files-change-before-they-are-read",
        "pictures",
        (do.index, files.spoil_files, do.workers()),
        failed={"unreadable": 1, "not_found": 1, "refused": 1},
    ),
    Case(
        "image-root-gone",
        "pictures",
        (*ONE_WORKER, do.moment, files.take_root_away, server.waiting_is_told("image root"), files.bring_root_back),
    ),
    Case(
        "image-root-not-mounted",
        "pictures",
        (*ONE_WORKER, do.moment, files.empty_root, server.waiting_is_told("image root"), files.bring_root_back),
    ),
    Case(
        "picture-gets-its-process-killed-for-its-memory",
        "pictures",
        (files.mark_picture("HUGE"), *ONE_WORKER),
        (Fault(DECODE, "outgrow", times=0, marker="HUGE"),),
        failed={"crashed": 1},
        images=48,
        deadline=250,
    ),
    Case(
        "picture-may-not-be-read",
        "pictures",
        (do.index, files.forbid(17), do.workers()),
        (Fault(OPEN_FILE, "deny", times=0, marker="017.png"),),
        failed={"no_access": 1},
        images=48,
    ),
    Case(
        "folder-renamed",
        "pictures",
        (do.index, files.rename_folder, do.workers()),
        failed={"not_found": 10},
        images=48,
        mended_by_indexing_again=True,
        promise="what is not there any more is listed as `not_found`; indexing again finds it in its new place",
    ),
)
