"""What one picture may take while it is decoded: seconds and memory, kept from outside, whatever its decoder does.

Decoders are C. One that hangs hears no exception, and may hold Python's own lock meanwhile; one that asks for memory
gets it until the machine has none. So time is kept by faulthandler, whose clock needs no Python and which ends the
process; and memory by the system, which refuses what goes beyond the bound, so that a MemoryError comes of it.

Both are the process's own, whatever thread decodes: the clock runs for the picture that began first, and the bound is
for all pictures that are being decoded at once.
"""

from __future__ import annotations

import faulthandler
import itertools
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import resource

#: Where the logs of a worker go, also where Celery has put something else in the place of sys.stderr.
_STANDARD_ERROR = 2
#: Pages; first is the size of the address space.
_SIZES = Path("/proc/self/statm")


class Clock:
    """Ends this process when a picture takes too long: after a traceback on standard error, with exit code 1."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._deadlines: dict[int, float] = {}
        self._set_for: float | None = None

    @contextmanager
    def running(self, seconds: float) -> Iterator[None]:
        """One picture; 0 seconds for no limit."""
        if not seconds:
            yield
            return
        number = next(self._numbers)
        try:
            with self._lock:
                self._deadlines[number] = time.monotonic() + seconds
                self._set()
            yield
        finally:
            with self._lock:
                self._deadlines.pop(number, None)
                self._set()

    def _set(self) -> None:
        first = min(self._deadlines.values(), default=None)
        if first is None:
            faulthandler.cancel_dump_traceback_later()
        elif first != self._set_for:
            left = max(first - time.monotonic(), 0.001)
            faulthandler.dump_traceback_later(left, exit=True, file=_STANDARD_ERROR)
        self._set_for = first


class Memory:
    """Lets this process grow by so much and no further; a limit that it has already is never raised."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pictures: set[object] = set()
        #: The limit to return to; none while nothing is bound.
        self._before: tuple[int, int] | None = None

    @contextmanager
    def bound(self, more: int) -> Iterator[None]:
        """While pictures are decoded, at most `more` bytes of address space; 0 for no bound, as where there is none."""
        if not more or not _SIZES.exists():
            yield
            return
        picture = object()  # not a number: a time limit may strike between any two lines, and must not upset a count
        try:
            with self._lock:
                self._pictures.add(picture)
                if self._before is None:
                    self._set(more)
            yield
        finally:
            with self._lock:
                self._pictures.discard(picture)
                if not self._pictures and self._before is not None:
                    resource.setrlimit(resource.RLIMIT_AS, self._before)
                    self._before = None

    def _set(self, more: int) -> None:
        self._before = soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = address_space() + more
        known = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *known]), hard))


def address_space() -> int:
    """Bytes that this process has mapped; Linux only."""
    return int(_SIZES.read_text().split()[0]) * resource.getpagesize()


CLOCK = Clock()
MEMORY = Memory()
