"""The models that one worker process holds: an encoder for each model of its queues, and what reads texts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from models import check, weights
from models.batch_size import FILE, Remembered
from models.encoder import Encoder
from models.errors import TextError
from models.opening import Limits
from models.spec import ModelSpec, find
from workers import devices
from workers.contract import index_queue, search_queue
from workers.settings import Settings, state_dir
from workers.store import Vector

if TYPE_CHECKING:
    from models.text import TextEncoder


class NotServed(Exception):
    """A message came on a queue whose model this process does not hold."""


class HeldModels:
    """Loaded once, when the process begins."""

    def __init__(self, settings: Settings, queues: Sequence[str]) -> None:
        """Hold every model that `queues` name; the text half too, but only where searches come in.

        Raises ModelError if one of them cannot be used on this machine.
        """
        names = sorted({queue.partition(".")[2] for queue in queues})
        self.limits = Limits(*settings.picture_limits)
        self._specs = {name: find(name, settings.model_dir) for name in names}
        self._encoders = {name: _encoder(spec, settings, self.limits) for name, spec in self._specs.items()}
        #: Of this process.
        self.decode_threads = devices.decode_threads(settings)
        remembered = Remembered(state_dir() / FILE)
        self._sizes = {
            name: devices.micro_batch(encoder, settings, remembered)
            for name, encoder in self._encoders.items()
            if index_queue(name) in queues
        }
        self._readers = {
            name: _reader(spec, settings)
            for name, spec in self._specs.items()
            if spec.text is not None and search_queue(name) in queues
        }

    def spec(self, model: str) -> ModelSpec:
        """Raises NotServed."""
        if model not in self._specs:
            raise NotServed(f"This worker serves {', '.join(self._specs)}, not {model}; see its -Q queues.")
        return self._specs[model]

    def encoder(self, model: str) -> Encoder:
        """Raises NotServed."""
        return self._encoders[self.spec(model).name]

    @property
    def models(self) -> list[str]:
        return list(self._specs)

    @property
    def provider(self) -> str:
        """The execution provider that runs; of several the first."""
        return next(iter(self._encoders.values())).provider

    def micro_batch(self, model: str) -> int:
        """Pictures that go through the session together, no more than the device had memory for; raises NotServed."""
        size = self._sizes.get(self.spec(model).name, devices.ON_CPU)
        return min(size, self.encoder(model).fits or size)

    def read(self, model: str, text: str) -> Vector:
        """The unit vector of a text; raises TextError if the model reads none."""
        if model not in self._readers:
            raise TextError(f"The model {model} reads no text; search with a picture, or use a model that does.")
        return self._readers[model].encode(text)


def _encoder(spec: ModelSpec, settings: Settings, limits: Limits) -> Encoder:
    """Whose vectors are the specification's; raises ModelError, CheckFailed among them."""
    make = partial(Encoder, providers=settings.providers, cpu_fallback=settings.cpu_fallback, threads=settings.threads)
    make = partial(make, device=settings.device, most=devices.most(settings))
    return check.held(make(spec, weights.locate(spec, settings.model_dir), limits=limits))


def _reader(spec: ModelSpec, settings: Settings) -> TextEncoder:
    from models.text import TextEncoder  # its tokenizers are needed by few

    return TextEncoder(spec, settings.model_dir, threads=settings.threads)
