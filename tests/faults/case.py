"""What a case of the fault suite is: plain data, to be read as a table."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tests.faults.city import City

#: Something that is done to a city, or waited for in it.
Deed = Callable[["City"], None]
Part = Literal["redis", "milvus"]
#: What every case is held to that says nothing else.
PROMISE = "all indexed, once"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens inside the processes of a worker; carried out by tests/faults/inside/sitecustomize.py."""

    #: `module:Class.method` of the product.
    at: str
    #: A deed of sitecustomize.
    do: str
    when: Literal["before", "after"] = "before"
    #: From which call in a process on.
    nth: int = 1
    #: In all processes together; 0 is always.
    times: int = 1
    #: Only calls with bytes that hold this text.
    marker: str = ""
    #: Of `slow`; the code of `refuse`.
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Case:
    """One fault, when it strikes, and how it ends; the audit afterwards is the same for all."""

    name: str
    #: Which part it strikes; the headings of the table in docs/reliability.md.
    part: str
    #: What happens, in this order; then the jobs are waited for.
    story: tuple[Deed, ...]
    faults: tuple[Fault, ...] = ()
    images: int = 96
    settings: Mapping[str, str] = field(default_factory=dict)
    #: Between the workers and these stands a proxy.
    through: frozenset[Part] = frozenset()
    #: Failures at the end, by class.
    failed: Mapping[str, int] = field(default_factory=dict)
    #: What was stored was taken away, or is elsewhere now: indexing again mends that.
    mended_by_indexing_again: bool = False
    #: What is promised beyond PROMISE, or instead; for docs/reliability.md.
    promise: str = ""
    #: Each folder is indexed with each of these, into so many libraries.
    models: tuple[str, ...] = ("colour",)
    libraries: int = 1
    #: Servers and workers are those of `imagefleet up`, or each started by hand.
    home: Literal["city", "stack"] = "city"
    #: The store is a Milvus server; the case is skipped where none is named.
    milvus_server: bool = False
    #: Random moments at which it is tried.
    rounds: int = 1
    #: Part of `make test`.
    quick: bool = False
    #: Seconds until the jobs must be over, on a busy machine.
    deadline: float = 120.0


def rng(seed: str, case: Case, round_: int) -> random.Random:
    """The chance of one run; the same seed gives the same moments."""
    return random.Random(f"{seed}:{case.name}:{round_}")
