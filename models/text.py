"""TextEncoder: the half of a two-tower model that reads. Held by search workers only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models import external, graph, weights
from models.encoder import CPU, Vector, open_session, run
from models.errors import InvalidSpec, TextError
from models.spec import ModelSpec, TextSpec


class TextEncoder:
    """Texts in, unit vectors out, comparable with the vectors of the same model's pictures."""

    def __init__(self, spec: ModelSpec, folder: Path, *, threads: int = 1) -> None:
        """Load the text half of `spec` from `folder`. Runs on the CPU: one short text is not worth a device.

        Raises TextError if the model has no such half, and ModelError if it cannot be used.
        """
        if spec.text is None:
            raise TextError(f"The model {spec.name} reads no text; search with a picture, or use a model that does.")
        self._spec: TextSpec = spec.text
        self._name, self._dimension = spec.name, spec.feature.dimension
        self._tokenizer = _tokenizer(spec.name, self._spec, folder)
        model = weights.checked(folder / self._spec.file, self._spec.sha256, spec.name)
        if external.places(graph.parsed(model)):
            # ONNX Runtime would look for them where this process happens to be.
            raise InvalidSpec(f"{self._spec.file} has weights in other files; merge them into it.")
        self._session = open_session(model, [CPU], threads)
        self._inputs = {given.name: given for given in self._session.get_inputs()}
        wanted = {self._spec.ids, self._spec.mask} - {None}
        if set(self._inputs) != wanted:
            raise InvalidSpec(f"{spec.name}: the text model's inputs are {', '.join(self._inputs)}; correct [text].")
        self._features("a")  # a wrong dimension shows now, and the first query is not the slow one

    def encode(self, text: str) -> Vector:
        """float32 [dimension], unit length; what does not fit into the model's length is cut off. Raises TextError."""
        vector = self._features(text)
        length = float(np.linalg.norm(vector))
        if not np.isfinite(length) or length == 0:
            raise TextError("The model finds no meaning in this text; use other words.")
        unit: Vector = vector / np.float32(length)
        return unit

    def _features(self, text: str) -> Vector:
        tokens = self._tokenizer.encode(text).ids
        features = run(self._session, self._spec.feature, self._feeds(tokens), self._name)
        vector = features.astype(np.float32).reshape(-1)
        if len(vector) != self._dimension:
            raise InvalidSpec(f"{self._name}: the text model gives {len(vector)} numbers; correct [text] feature.")
        return vector

    def _feeds(self, tokens: list[int]) -> dict[str, NDArray[Any]]:
        axis = self._inputs[self._spec.ids].shape[1]
        missing = axis - len(tokens) if isinstance(axis, int) else 0
        feeds = {self._spec.ids: [*tokens, *[self._spec.pad] * missing]}
        if self._spec.mask:
            feeds[self._spec.mask] = [1] * len(tokens) + [0] * missing
        return {name: np.array([row], self._dtype(name)) for name, row in feeds.items()}

    def _dtype(self, name: str) -> str:
        return "int32" if self._inputs[name].type == "tensor(int32)" else "int64"


def _tokenizer(model: str, spec: TextSpec, folder: Path) -> Tokenizer:
    data = weights.checked(folder / spec.tokenizer, spec.tokenizer_sha256, model)
    try:
        tokenizer = Tokenizer.from_str(data.decode("utf-8"))
    except Exception as error:  # the library raises nothing more particular
        raise InvalidSpec(f"{spec.tokenizer} is no file of the tokenizers library ({error}); get another.") from None
    tokenizer.enable_truncation(max_length=spec.length)
    tokenizer.no_padding()
    return tokenizer
