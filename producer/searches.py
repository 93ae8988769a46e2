"""Searches and prunes: requests whose answer somebody waits for."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from producer import asking
from producer.asking import Asker
from producer.connection import Connection, Place, ledger_errors, limited, several
from producer.errors import WrongValue
from producer.places import of_folder, of_indexed
from workers.contract import LIMIT_MAX, PruneAnswer, PruneRequest, Query, SearchAnswer, SearchRequest

#: Seconds that a search or a page of a prune may take.
TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A search that was sent; any process can fetch the answer until it expires (IMAGEFLEET_RESULT_EXPIRES)."""

    #: One id for up to 64 queries.
    tasks: tuple[str, ...]
    model: str


class Searches(Connection):
    """The calls about searches and prunes."""

    @property
    def _asker(self) -> Asker:
        return Asker(self.broker, self.ledger)

    def search(
        self,
        pictures: Place | Sequence[Place] = (),
        like: Place | Sequence[Place] = (),
        text: str | Sequence[str] = (),
        *,
        model: str | None = None,
        library: str | None = None,
        limit: int = 10,
        thumbnail: int = 0,
        timeout: float = TIMEOUT,
    ) -> SearchAnswer:
        """Look for the images nearest to pictures, to indexed images by their paths, and to texts where the model
        reads them; answers come in that order.

        `thumbnail`: pixels of the longer side of a small JPEG that comes with each hit, 0 for none. An answer has
        either hits or an `error`. Raises PictureMissing, PictureTooLarge, UnknownModel, WrongValue, and NoAnswer after
        `timeout` seconds, or sooner if no worker listens.
        """
        asked = self.search_async(pictures, like, text, model=model, library=library, limit=limit, thumbnail=thumbnail)
        answer = self.result(asked, timeout)
        for task in asked.tasks:
            self._asker.forget(task)
        return answer

    def search_async(
        self,
        pictures: Place | Sequence[Place] = (),
        like: Place | Sequence[Place] = (),
        text: str | Sequence[str] = (),
        *,
        model: str | None = None,
        library: str | None = None,
        limit: int = 10,
        thumbnail: int = 0,
    ) -> Asked:
        """Send a search and do not wait; `result` fetches the answer."""
        limited(limit, 1, LIMIT_MAX, "limit")
        chosen, root = self.library_name(library), self.settings.image_root
        known = self.known_model(model or self.settings.models[0])
        queries = [asking.picture_query(place) for place in several(pictures)]
        queries += [Query(name=os.fspath(place), like=of_indexed(place, root)) for place in several(like)]
        queries += [asking.text_query(words) for words in ((text,) if isinstance(text, str) else text)]
        if not queries:
            raise WrongValue("There is nothing to search for; name a picture, an indexed image by --like, or a --text.")
        with ledger_errors():
            self.ledger.ping()
        name = self.in_service(known, chosen)
        requests = (
            SearchRequest(model=name, library=chosen, limit=limit, queries=part, thumbnail=thumbnail)
            for part in asking.parts(queries)
        )
        return Asked(tuple(self._asker.send_search(request) for request in requests), name)

    def result(self, asked: Asked | str | Sequence[str], timeout: float = TIMEOUT) -> SearchAnswer:
        """The answer to a search that was sent, also by its task ids; raises NoAnswer if there is none in time."""
        model = asked.model if isinstance(asked, Asked) else None
        tasks = asked.tasks if isinstance(asked, Asked) else (asked,) if isinstance(asked, str) else tuple(asked)
        deadline = time.monotonic() + timeout
        with ledger_errors():
            self.ledger.ping()
            return asking.joined(
                [self._asker.search_answer(task, model, max(0.0, deadline - time.monotonic())) for task in tasks]
            )

    def prune(
        self,
        folder: Place,
        *,
        model: str | None = None,
        library: str | None = None,
        delete: bool = False,
        timeout: float = TIMEOUT,
    ) -> PruneAnswer:
        """Count the rows below a folder whose file is gone, and with `delete` remove them.

        `timeout` is for one page of rows. Raises OutsideImageRoot, UnknownModel, NoAnswer, RequestFailed.
        """
        below, chosen = of_folder(folder, self.settings.image_root), self.library_name(library)
        known = self.known_model(model or self.settings.models[0])
        request = PruneRequest(model=self.in_service(known, chosen), library=chosen, folder=below, delete=delete)
        with ledger_errors():
            self.ledger.ping()
            return asking.total(self._asker.prune_pages(request, timeout))
