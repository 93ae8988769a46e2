"""The call `why`: gathers what this machine, the ledger and a worker know of one image."""

from __future__ import annotations

import os
from dataclasses import replace

from producer import asking
from producer.connection import Connection, Place, ledger_errors
from producer.errors import OutsideImageRoot, WrongValue
from producer.explaining import Explanation, Facts, also, explain, near
from producer.places import of_indexed
from producer.searches import TIMEOUT
from producer.shown import shown
from producer.walk import image_at, reason_not_walked, suffixes_of
from workers.checks import WhyAnswer, WhyRequest
from workers.contract import Failure
from workers.job_state import JobState

#: Jobs whose failures are looked through.
JOBS = 200


class Whys(Connection):
    """The call about one image."""

    def why(
        self,
        place: Place,
        query: Place | None = None,
        *,
        model: str | None = None,
        library: str | None = None,
        timeout: float = TIMEOUT,
    ) -> Explanation:
        """Say why an image is found or not, and with a query picture how near it is.

        Raises WrongValue for a folder, UnknownModel, PictureMissing, PictureTooLarge, NoAnswer, RequestFailed.
        """
        chosen = self.library_name(library)
        with ledger_errors():
            self.ledger.ping()
        name = self.in_service(self.known_model(model or self.settings.models[0]), chosen)
        try:
            path = self._path(place)
        except OutsideImageRoot as error:
            return Explanation(os.fspath(place), name, chosen, "outside", (str(error),))
        answer = self._known(path, query, name, chosen, timeout)
        facts = self._facts(path, answer, name, chosen)
        verdict, sentence = explain(facts)
        found = Explanation(path, name, chosen, verdict, (sentence, *also(facts)), answer.row, answer.failure)
        return found if query is None else _with_query(found, os.fspath(query), answer)

    def _path(self, place: Place) -> str:
        """Raises OutsideImageRoot also for a link that leads there, as a worker would."""
        root = self.settings.image_root
        path = of_indexed(place, root)
        if (root / path).is_dir():
            raise WrongValue(f"{shown(os.fspath(place))} is a folder; `imagefleet audit` looks at folders.")
        real, base = os.path.realpath(root / path), os.path.realpath(root).rstrip("/")
        if not real.startswith(base + "/"):
            raise OutsideImageRoot(f"{shown(path)} is a link that leads out of the image root, which workers refuse.")
        return path

    def _known(self, path: str, query: Place | None, model: str, library: str, timeout: float) -> WhyAnswer:
        seen = image_at(self.settings.image_root / path, path)
        request = WhyRequest(
            model=model,
            library=library,
            path=path,
            size=seen.size,
            mtime_ns=seen.mtime_ns,
            query=None if query is None else asking.picture_query(query),
        )
        with ledger_errors():
            return asking.Asker(self.broker, self.ledger).why(request, timeout)

    def _facts(self, path: str, answer: WhyAnswer, model: str, library: str) -> Facts:
        root = str(self.settings.image_root)
        file = self.settings.image_root / path
        there = os.path.lexists(file)
        with ledger_errors():
            states = [state for state in self.ledger.jobs(JOBS) if (state.model, state.library) == (model, library)]
            return Facts(
                path=path,
                file=image_at(file, path) if there else None,
                changed=os.lstat(file).st_ctime if there else 0.0,
                skipped=reason_not_walked(str(file), root, suffixes_of(self.settings.formats)) if there else None,
                known=answer,
                jobs=states,
                batch=self._batch(states, path),
                listed=self._listed(states, path),
            )

    def _batch(self, states: list[JobState], path: str) -> tuple[str, int] | None:
        for state in states:
            number = self.ledger.batch_with(state.id, path) if state.open_batches else None
            if number is not None:
                return state.id, number
        return None

    def _listed(self, states: list[JobState], path: str) -> tuple[JobState, Failure] | None:
        found = ((state, self.ledger.failure_of(state.id, path)) for state in states if state.failed)
        return next(((state, failure) for state, failure in found if failure), None)


def _with_query(found: Explanation, query: str, answer: WhyAnswer) -> Explanation:
    if answer.query_error:
        said = f"{shown(query)}: {shown(answer.query_error)}"
    elif answer.nearness:
        said = near(answer.nearness, query)
    else:
        said = f"For {shown(query)} it has no rank, since it has no row."
    return replace(found, sentences=(*found.sentences, said), nearness=answer.nearness)
