"""A worker that lives and hears nothing is found, and no other is."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from workers.ledger import LedgerUnavailable
from workers.transport import Channel
from workers.watchdog import LOOKS, Watchdog


@dataclass
class Worker:
    """What there is to be seen of a worker."""

    messages: int = 1
    asks: bool = False
    busy: bool = False
    away: bool = False

    def waiting(self) -> int:
        if self.away:
            raise LedgerUnavailable("Away.")
        return self.messages

    def found_deaf(self, looks: int) -> bool:
        watchdog = Watchdog(self.waiting, lambda: self.busy, lambda: None)
        found = False
        for _ in range(looks):
            Channel.asked += self.asks
            found = watchdog.look()
        return found


def test_one_that_does_not_ask_while_messages_wait_is_deaf() -> None:
    assert Worker().found_deaf(LOOKS + 1)


def test_it_is_given_time_to_connect_again() -> None:
    assert not Worker().found_deaf(LOOKS)


@pytest.mark.parametrize("worker", [Worker(asks=True), Worker(busy=True), Worker(messages=0), Worker(away=True)])
def test_one_that_asks_or_works_or_has_nothing_to_hear_is_not(worker: Worker) -> None:
    assert not worker.found_deaf(3 * LOOKS)
