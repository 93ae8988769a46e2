"""The soak: a large job under faults. Every image has to be accounted for, and no process may grow.

While the job runs, one of four workers is killed every 20 seconds, every third time with the main process above them,
and Redis and Milvus Lite are each restarted twice, once asked to end and once killed.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import processes
from benchmarks.world import World
from producer.auditing import Audit
from producer.client import Client, ClientError, Job, JobState, over
from producer.shown import counted
from workers.local.processes import is_alive, marked
from workers.local.stack import Options, Stack, running
from workers.local.supervision import Client as Supervisor
from workers.local.supervision import Unreachable

#: Images, where nobody says how many.
PICTURES = 100_000
WORKERS = 4
MODEL = "colour"
#: Different pictures; all other files are hard links to them.
ORIGINALS = 48
#: Files in one folder.
IN_FOLDER = 1000
#: Seconds between two kills.
KILL_SECONDS = 20.0
#: Every which kill takes the main process of the workers.
MAIN = 3
#: Who is restarted when that part of the images is done, and how.
RESTARTS = (
    (0.2, "redis", signal.SIGTERM),
    (0.4, "milvus", signal.SIGTERM),
    (0.6, "redis", signal.SIGKILL),
    (0.8, "milvus", signal.SIGKILL),
)
#: Seconds between two looks.
LOOK_SECONDS = 1.0
#: Seconds after which a soak has failed.
DEADLINE = 3 * 3600.0
#: Seconds that one question of the audit may take.
AUDIT_SECONDS = 120.0


@dataclass
class Memory:
    """Resident MiB over time; of several processes of one role the largest."""

    taken: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def look(self, roles: dict[int, str]) -> None:
        now = time.monotonic()
        largest: dict[str, float] = {}
        for pid, role in roles.items():
            with suppress(OSError, ValueError, IndexError):
                largest[role] = max(largest.get(role, 0.0), processes.resident(pid))
        for role, size in largest.items():
            self.taken[role].append((now, size))

    def lines(self) -> Iterator[str]:
        """After the first third, at the end (each the median over a sixth of the time), and the most."""
        yield "memory, MiB          after a third   at the end   most"
        for role, taken in sorted(self.taken.items()):
            begin, end = taken[0][0], taken[-1][0]
            sixth = (end - begin) / 6
            early = [size for at, size in taken if 2 * sixth <= at - begin <= 3 * sixth]
            late = [size for at, size in taken if end - at <= sixth]
            sizes = statistics.median(early or late), statistics.median(late), max(size for _, size in taken)
            yield f"  {role:18}" + "".join(f"{size:>14.0f}" for size in sizes[:2]) + f"{sizes[2]:>8.0f}"


@dataclass
class City:
    """The stack as the soak sees it: who is who, whom to kill next, and what was done."""

    stack: Stack
    done: Counter[str] = field(default_factory=Counter)
    memory: Memory = field(default_factory=Memory)
    left: list[tuple[float, str, signal.Signals]] = field(default_factory=lambda: list(RESTARTS))
    next_kill: float = field(default_factory=lambda: time.monotonic() + KILL_SECONDS)
    kills: int = 0

    def look(self, progress: float) -> None:
        """Take the memory of all, and let the next fault happen if its time has come."""
        roles = self._roles()
        self.memory.look(roles)
        if self.left and progress >= self.left[0][0]:
            _, name, number = self.left.pop(0)
            self._end([pid for pid, role in roles.items() if role == name], f"{name} {number.name}", number)
        if time.monotonic() >= self.next_kill:
            self.next_kill += KILL_SECONDS
            self.kills += 1
            role = "index main" if self.kills % MAIN == 0 else "index process"
            self._end([pid for pid, of in roles.items() if of == role], f"{role} SIGKILL", signal.SIGKILL)

    def _end(self, pids: Sequence[int], what: str, number: signal.Signals) -> None:
        if pids:
            with suppress(ProcessLookupError):
                os.kill(random.choice(pids), number)
                self.done[what] += 1

    def _roles(self) -> dict[int, str]:
        with suppress(Unreachable):
            children = Supervisor(self.stack.folder).children().values()
            names = {child.pid: child.name for child in children if child.pid}
            main = {pid: f"{name} main" if name in ("index", "search") else name for pid, name in names.items()}
            parents = {pid: processes.parent(pid) for pid in marked(self.stack.folder) if processes.is_pool(pid)}
            return main | {pid: f"{names[parent]} process" for pid, parent in parents.items() if parent in names}
        return {}


def _linked(world: World, number: int) -> Path:
    """A folder of so many hard links."""
    originals, folder = world.pictures[:ORIGINALS], world.folder / "linked"
    for index in range(number):
        below = folder / f"{index // IN_FOLDER:04}"
        if index % IN_FOLDER == 0:
            below.mkdir(parents=True)
        os.link(originals[index % len(originals)], below / f"{index:07}.jpg")
    return folder


def _state(job: Future[list[Job]], ids: list[Job]) -> JobState | None:
    """None while Redis is away, or nothing is queued yet."""
    if job.done():
        job.result()  # what went wrong while it was queued
    with suppress(ClientError):
        return ids[0].status() if ids else None
    return None


def _run(city: City, client: Client, folder: Path) -> JobState:
    ids: list[Job] = []
    deadline = time.monotonic() + DEADLINE
    with ThreadPoolExecutor(1) as feeder:
        feeding = feeder.submit(client.index, [folder], [MODEL], started=ids.extend)
        while time.monotonic() < deadline:
            state = _state(feeding, ids)
            if state and over(state):
                return state
            if not is_alive(city.stack.pid):
                raise SystemExit(f"The stack did not hold; see the logs in {city.stack.folder.root}: {dict(city.done)}")
            city.look(state.done / state.queued if state and state.walked else 0.0)
            time.sleep(LOOK_SECONDS)
    raise TimeoutError(f"The job is not done after {DEADLINE:.0f} s: {_state(feeding, ids)}")


def _audit_line(audit: Audit) -> str:
    files = ", ".join(f"{number:,} {standing}" for standing, number in audit.files.items())
    verdict = "clean" if audit.clean else "NOT CLEAN"
    return f"audit   {verdict}: files {files}; {counted(audit.rows, 'row')}, {audit.orphaned:,} without a file"


def measure(world: World) -> Iterator[str]:
    """Lines as they come; raises SystemExit if anything is lost or too much."""
    number = world.count
    world.count = ORIGINALS
    folder = _linked(world, number)
    options = Options(workers=WORKERS, models=(MODEL,), root=world.folder, flower_port=0)
    with running(options) as stack:
        client, city = Client(stack.settings), City(stack)
        begin = time.monotonic()
        state = _run(city, client, folder)
        seconds = time.monotonic() - begin
        yield (
            f"job     {state.queued:,} images in {seconds:.0f} s ({state.queued / seconds:.0f} images/s): "
            f"{state.indexed:,} indexed, {state.unchanged:,} unchanged, {state.failed:,} failed"
        )
        yield "faults  " + ", ".join(f"{what} {times}x" for what, times in sorted(city.done.items()))
        audit = client.audit(folder, model=MODEL, timeout=AUDIT_SECONDS)
        yield _audit_line(audit)
        yield from city.memory.lines()
    if not (state.done == state.queued == audit.rows == number and audit.clean and not state.failed):
        raise SystemExit(f"The soak did not end complete: {state}")
