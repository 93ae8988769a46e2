"""Results made ahead by threads, in the order of what they are made of, while the caller does something else.

The threads live as long as one batch: whatever ends it, nothing of it is left in the next.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from itertools import islice
from queue import SimpleQueue
from typing import Generic, TypeVar

S = TypeVar("S")
R = TypeVar("R")


class Prefetch(Generic[S, R]):
    """Calls `make` on every source, `threads` at a time; without threads in the caller's own, when the result is due.

    An exception of `make` comes out where its result would.
    """

    def __init__(self, make: Callable[[S], R], threads: int) -> None:
        self._make = make
        self._threads = threads

    def chunks(self, sources: Sequence[S], size: int) -> Generator[list[R], None, None]:
        """The results in lists of `size`. While the caller has one list, no more than another one is made.

        To be closed: then what is not begun is dropped. A thread that is busy ends after that; nobody waits for it.
        """
        if not self._threads:
            for start in range(0, len(sources), size):
                yield [self._make(source) for source in sources[start : start + size]]
            return
        yield from self._made_by_threads(sources, size)

    def _made_by_threads(self, sources: Sequence[S], size: int) -> Iterator[list[R]]:
        jobs: SimpleQueue[tuple[S, Future[R]] | None] = SimpleQueue()
        coming: deque[Future[R]] = deque()
        left = iter(sources)

        def submit(number: int) -> None:
            for source in islice(left, number):
                future: Future[R] = Future()
                coming.append(future)
                jobs.put((source, future))

        try:
            # Daemons, since nothing stops a decoder that hangs, and the process must be able to end.
            for number in range(min(self._threads, len(sources))):
                threading.Thread(target=self._work, args=(jobs,), name=f"decode-{number}", daemon=True).start()
            submit(2 * size)
            while coming:
                yield [coming.popleft().result() for _ in range(min(size, len(coming)))]
                submit(size)
        finally:
            for future in coming:
                future.cancel()
            for _ in range(self._threads):
                jobs.put(None)

    def _work(self, jobs: SimpleQueue[tuple[S, Future[R]] | None]) -> None:
        while (job := jobs.get()) is not None:
            source, future = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self._make(source))
            except BaseException as error:
                future.set_exception(error)
            del job, source, future  # a thread that waits must not keep a picture
