"""Audits: a folder, the rows below it and what is remembered of failures, compared file by file.

Whatever the folder's size, one page of it is held at a time: files are walked in pages, and rows are looked through in
pages by the workers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from producer.connection import Place, ledger_errors
from producer.errors import NothingFound
from producer.jobs import Job, Jobs, Started
from producer.places import canonical, relative_to_root
from producer.searches import TIMEOUT, Searches
from producer.sources import Source
from workers.checks import CHECK_MAX, CheckAnswer, CheckRequest, Standing
from workers.contract import Failure, Image

#: Images that an audit names for each way in which they can differ.
EXAMPLES = 10
#: Jobs that are looked at for images that are on their way.
JOBS = 100

#: Says how a page of files stands.
Check = Callable[[Sequence[Image]], CheckAnswer]


@dataclass(slots=True)
class Audit:
    """What an audit of one folder found for one model; whole when `differing` has been read to its end."""

    model: str
    library: str
    #: Relative to the image root.
    folder: str
    #: Files that a walk finds, by how they stand.
    files: Counter[Standing] = field(default_factory=Counter)
    #: Rows below the folder, and of these the ones whose file is gone.
    rows: int = 0
    orphaned: int = 0
    #: Some paths for each way to differ, relative to the image root.
    examples: dict[str, list[str]] = field(default_factory=dict)
    #: What is remembered of these.
    failures: dict[str, Failure] = field(default_factory=dict)
    #: Jobs of this model and library that are not over, and how many of their images are not done.
    on_the_way: dict[str, int] = field(default_factory=dict)
    #: Fingerprint of the collection that searches are answered from, if it is another one.
    other_in_service: str | None = None
    #: What the walk passed over, by reason.
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def to_repair(self) -> int:
        """Files that an `index` would embed."""
        return self.files["missing"] + self.files["stale"]

    @property
    def clean(self) -> bool:
        """Folder, rows and failures agree, and searches are answered from these rows."""
        return not (self.to_repair or self.orphaned or self.other_in_service)

    def differing(self, images: Iterator[Image], check: Check) -> Iterator[Image]:
        """The images that are missing or stale; counts all on the way."""
        while page := list(islice(images, CHECK_MAX)):
            answer = check(page)
            failures = {failure.path: failure for failure in answer.failures}
            self.other_in_service = answer.other_in_service
            for image, standing in zip(page, answer.standings, strict=True):
                self._count(image.path, standing, failures)
                if standing in ("missing", "stale"):
                    yield image

    def _count(self, path: str, standing: Standing, failures: dict[str, Failure]) -> None:
        self.files[standing] += 1
        if standing == "indexed":
            return
        named = self.examples.setdefault(standing, [])
        if len(named) < EXAMPLES:
            named.append(path)
            self.failures |= {path: failures[path]} if path in failures else {}


class Audits(Jobs, Searches):
    """The calls about audits."""

    def audit(
        self, folder: Place, *, model: str | None = None, library: str | None = None, timeout: float = TIMEOUT
    ) -> Audit:
        """Compare the files below a folder with their rows and with the failures that are remembered.

        Changes nothing. `timeout` is for one page of files or rows. Raises FolderMissing, FolderUnreadable,
        OutsideImageRoot, UnknownModel, NoAnswer, RequestFailed.
        """
        audit, source = self._begun(folder, model, library)
        for _ in audit.differing(iter(source), self._check(audit, timeout)):
            pass
        gone = self.prune(folder, model=audit.model, library=audit.library, timeout=timeout)
        audit.rows, audit.orphaned, audit.skipped = gone.looked_at, gone.gone, source.skipped.reasons
        if gone.gone:
            audit.examples["orphaned"] = gone.examples[:EXAMPLES]
        audit.on_the_way = self._on_the_way(audit)
        return audit

    def repair(
        self,
        folder: Place,
        *,
        model: str | None = None,
        library: str | None = None,
        timeout: float = TIMEOUT,
        started: Started | None = None,
    ) -> Job:
        """Queue exactly what is missing or stale below a folder, as a job; rows without a file are left to `prune`.

        Raises NothingFound where nothing is, and what `audit` raises.
        """
        audit, source = self._begun(folder, model, library)
        differing = audit.differing(iter(source), self._check(audit, timeout))
        found = Source(differing, source.folders, source.where, source.skipped)
        try:
            return self.feed(found, [audit.model], audit.library, started=started)[0]
        except NothingFound:
            raise NothingFound(f"In {source.where} nothing is missing or stale; there is nothing to repair.") from None

    def _begun(self, folder: Place, model: str | None, library: str | None) -> tuple[Audit, Source]:
        below, chosen = relative_to_root(canonical(folder), self.settings.image_root), self.library_name(library)
        known = self.known_model(model or self.settings.models[0])
        with ledger_errors():
            self.ledger.ping()
        return Audit(self.in_service(known, chosen), chosen, below), self.walk(folder)

    def _check(self, audit: Audit, timeout: float) -> Check:
        def check(images: Sequence[Image]) -> CheckAnswer:
            with ledger_errors():
                return self._asker.check(CheckRequest.about(images, audit.model, audit.library), timeout)

        return check

    def _on_the_way(self, audit: Audit) -> dict[str, int]:
        states = (state for state in self.jobs(JOBS) if (state.model, state.library) == (audit.model, audit.library))
        return {state.id: state.queued - state.done for state in states if state.open_batches}
