"""`make bench`, or `python -m benchmarks [FIGURE ...] [--pictures N] [--repeats N] [--model M ...]`.

Prints figures of this machine. What each means and how to read it is in docs/performance.md. Those that take many
minutes run only where they are named: `soak` (docs/reliability.md), `enqueue` and `fleet` (docs/scaling.md).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks import against_peers, bulk, enqueue, fleet, machine, memory, search, soak, start, unchanged
from benchmarks.world import World

FIGURES = {
    "start": start.measure,
    "bulk": bulk.measure,
    "unchanged": unchanged.measure,
    "memory": memory.measure,
    "peers": against_peers.measure,
    "search": search.measure,
}
#: Only where they are named, and alone.
LONG = {"soak": soak.measure, "enqueue": enqueue.measure, "fleet": fleet.measure}
PICTURES = 1200
#: Of these figures, where nobody says how many.
MANY = {"soak": soak.PICTURES, "enqueue": enqueue.PATHS}


def main() -> None:
    known = ", ".join(FIGURES | LONG)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure imagefleet on this machine.")
    parser.add_argument(
        "figures", nargs="*", metavar="FIGURE", help=f"of {known}; all but {', '.join(LONG)} by default"
    )
    many = f"how many are drawn and indexed (default {PICTURES}; of soak {soak.PICTURES}, of enqueue {enqueue.PATHS})"
    parser.add_argument("--pictures", type=int, help=many)
    parser.add_argument("--repeats", type=int, default=3, help="of each side of a comparison (default 3)")
    parser.add_argument("--model", action="append", help="may be given again; by default all that are at hand")
    options = parser.parse_args()
    if unknown := set(options.figures) - set(FIGURES | LONG):
        parser.error(f"there is no figure {sorted(unknown)[0]!r}; choose of {known}")
    if set(options.figures) & set(LONG) and len(options.figures) > 1:
        parser.error(f"each of {', '.join(LONG)} is measured alone")
    pictures = options.pictures or max(MANY.get(name, PICTURES) for name in options.figures or FIGURES)
    if pictures < 12 or options.repeats < 1:
        parser.error("--pictures takes 12 or more, --repeats 1 or more")
    print(machine.about())
    with tempfile.TemporaryDirectory(prefix="imagefleet-bench-") as folder:
        os.environ["IMAGEFLEET_STATE_DIR"] = str(Path(folder) / "state")
        world = World(Path(folder), pictures, options.repeats, options.model)
        for name in options.figures or FIGURES:
            print(f"\n== {name}", flush=True)
            for line in (FIGURES | LONG)[name](world):
                print(line, flush=True)


if __name__ == "__main__":
    main()
