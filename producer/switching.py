"""Let another model answer for a name: compare both first, then switch, or go back."""

from __future__ import annotations

from producer.asking import Asker
from producer.connection import Connection, ledger_errors
from producer.errors import WrongValue
from producer.searches import TIMEOUT
from workers.contract import SwitchAnswer, SwitchRequest


class Switching(Connection):
    """The calls about versions of models."""

    def compare(self, name: str, to: str, library: str | None = None, sample: int = 50) -> SwitchAnswer:
        """How `to` stands beside the model that answers for `name` now: rows, coverage, agreement of neighbours.

        Raises UnknownModel, WrongValue, NoAnswer, and RequestFailed if one of the two has no rows.
        """
        return self._ask(self._request(name, to, library, sample))

    def switch(self, name: str, to: str, library: str | None = None) -> SwitchAnswer:
        """Let `to` answer whenever `name` is asked for, in searches and in index requests. Can be undone."""
        request = self._request(name, to, library, sample=1).model_copy(update={"move": True})
        answer = self._ask(request)
        with ledger_errors():
            self.serving.switch(request.library, request.name, request.model)
        return answer

    def before(self, name: str, library: str | None = None) -> str:
        """Who answered for `name` before the last switch; raises WrongValue if there was none."""
        with ledger_errors():
            history = self.serving.history(self.library_name(library), self.known_model(name))
        if len(history) < 2:
            raise WrongValue(f"Nothing was switched for {name}; there is nothing to undo.")
        return history[-2]

    def _request(self, name: str, to: str, library: str | None, sample: int) -> SwitchRequest:
        known, new = self.known_model(name), self.known_model(to)
        chosen = self.library_name(library)
        current = self.in_service(known, chosen)
        if new == current:
            raise WrongValue(f"{new} answers for {known} already; there is nothing to switch.")
        return SwitchRequest(model=new, library=chosen, name=known, current=current, sample=sample)

    def _ask(self, request: SwitchRequest) -> SwitchAnswer:
        with ledger_errors():
            self.ledger.ping()
            return Asker(self.broker, self.ledger).switch(request, TIMEOUT)
