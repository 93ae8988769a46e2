"""What every call of the client needs: the settings, the ledger, the broker, and names that are checked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from models import spec
from models.errors import ModelsError
from producer.errors import BrokerUnavailable, UnknownModel, WrongValue, full, is_full
from producer.shown import shown
from workers.contract import LIBRARY_PATTERN
from workers.ledger import Ledger, LedgerUnavailable
from workers.serving import Serving
from workers.settings import Settings, load

if TYPE_CHECKING:
    from producer.broker import Broker

Place = str | os.PathLike[str]

#: Characters in the name of a library.
LIBRARY_MAX = 64


class Connection:
    """What all calls need: settings, ledger and broker. Nothing is connected before the first call.

    Every call that needs Redis raises BrokerUnavailable within seconds if it does not answer.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        """Without settings those of the environment are read; raises SettingsError."""
        self.settings = settings or load()

    @cached_property
    def ledger(self) -> Ledger:
        with ledger_errors():
            return Ledger.from_settings(self.settings)

    @cached_property
    def broker(self) -> Broker:
        from producer.broker import Broker  # Celery takes a moment to load, and most calls do without

        return Broker(self.settings)

    @cached_property
    def serving(self) -> Serving:
        with ledger_errors():
            return Serving.from_settings(self.settings)

    def in_service(self, model: str, library: str) -> str:
        """The model that answers when `model` is asked for in that library."""
        with ledger_errors():
            return self.serving.answers_for(library, model)

    def listeners(self, queue: str) -> int:
        """Worker nodes that live and take messages from that queue."""
        return self.broker.listeners(queue)

    def known_model(self, name: str) -> str:
        """The name, if the catalogue has it; raises UnknownModel."""
        try:
            return spec.find(name, self.settings.model_dir).name
        except ModelsError as error:
            raise UnknownModel(str(error)) from None

    def library_name(self, name: str | None) -> str:
        chosen = self.settings.library if name is None else name
        if len(chosen) > LIBRARY_MAX:
            raise WrongValue(
                f"{len(chosen):,} characters are too many for the name of a library; at most {LIBRARY_MAX} are taken."
            )
        if not re.fullmatch(LIBRARY_PATTERN, chosen):
            raise WrongValue(
                f"{shown(chosen)!r} is no name for a library; use small letters and digits, with - or . between them."
            )
        return chosen


@contextmanager
def ledger_errors() -> Iterator[None]:
    try:
        yield
    except LedgerUnavailable as error:
        raise full() if is_full(error) else BrokerUnavailable(str(error)) from error


def limited(value: int, least: int, most: int, name: str) -> int:
    """The value, if it may be; raises WrongValue."""
    if not least <= value <= most:
        raise WrongValue(f"{name} is {value:,} and must be from {least:,} to {most:,}.")
    return value


def several(given: Place | Sequence[Place]) -> tuple[Place, ...]:
    """One place or many, as many."""
    return (given,) if isinstance(given, str | os.PathLike) else tuple(given)
