"""Image models of torchvision with one's own weights. Imports PyTorch, when it is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.export import Draft, ExportRefused
from models.export_onnx import libraries, one_line, write_onnx
from models.export_weights import state_dict
from models.spec import PreprocessSpec

#: Their last layer is no classifier, or their pictures are not prepared as those of the others are.
_OTHERS: Final = ("googlenet", "inception_v3", "squeezenet1_0", "squeezenet1_1")
#: Counts batches in training; models older than it do without.
_UNIMPORTANT: Final = ".num_batches_tracked"


class TorchModel:
    """An Original: a model of torchvision without its classifier."""

    def __init__(
        self, file: Path, architecture: str, *, side: int = 224, name: str | None = None, licence: str | None = None
    ) -> None:
        """Read `file`, a state dict of `architecture`; raises ExportUnavailable or ExportRefused."""
        model = _without_weights(architecture)
        weights = state_dict(file)
        classifier = _take_classifier(model, architecture)
        kept = {key: value for key, value in weights.items() if not key.startswith(f"{classifier}.")}
        _check_fit(kept, model.state_dict(), file, architecture)
        model.load_state_dict(kept, strict=False)
        self._model = model.eval()
        self._file, self._architecture, self._side = file, architecture, side
        self._name = name or f"torch-{_slug(architecture)}-{_slug(file.stem)}"[:64].rstrip("-")
        self._licence = licence or f"unknown: that of {file.name}"

    @cached_property
    def draft(self) -> Draft:
        """Raises ExportRefused if the model makes no vector of a picture of that size."""
        return Draft(
            name=self._name,
            title=f"{self._architecture} of torchvision with {self._file.name}, before the classifier",
            licence=self._licence,
            source=f"torchvision {self._architecture}, weights {self._file.name}",
            layout="NCHW",
            side=self._side,
            preprocess=_as_references_do(self._side),
            dimension=self._dimension(),
        )

    def write(self, file: Path) -> None:
        """One ONNX file; raises ExportRefused."""
        write_onnx(self._model, (3, self._side, self._side), file)

    def features(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """[n, 3, side, side] to [n, dimension]."""
        with libraries():
            import torch
        with torch.no_grad():
            computed: NDArray[np.float32] = self._model(torch.from_numpy(batch)).numpy()
        return computed

    def _dimension(self) -> int:
        try:
            shape = self.features(np.zeros((1, 3, self._side, self._side), np.float32)).shape
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ExportRefused(
                f"{self._architecture} takes no picture of {self._side} pixels ({one_line(error)}); set --size."
            ) from None
        if len(shape) != 2:
            raise ExportRefused(f"{self._architecture} gives {shape}, no vector; export another architecture.")
        return int(shape[1])


def _as_references_do(side: int) -> PreprocessSpec:
    """How torchvision's references prepare pictures for a model of `side` pixels: the ratio is that of 256 to 224."""
    return PreprocessSpec(
        resize_to=round(side * 256 / 224), longer="floor", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )


def _check_fit(weights: Mapping[str, Any], wanted: Mapping[str, Any], file: Path, architecture: str) -> None:
    needed = {key: value for key, value in wanted.items() if key in weights or not key.endswith(_UNIMPORTANT)}
    for key in (*needed, *weights):
        given, asked = weights.get(key), needed.get(key)
        if given is None or asked is None or given.shape != asked.shape:
            raise ExportRefused(
                f"{file} does not fit {architecture} (see {key}); name its architecture by --architecture."
            )


def _without_weights(architecture: str) -> Any:
    with libraries():
        import torchvision
    known = [name for name in torchvision.models.list_models(torchvision.models) if name not in _OTHERS]
    if architecture not in known:
        near = ", ".join(get_close_matches(architecture, known, 3)) or ", ".join(known[:8])
        raise ExportRefused(f"There is no architecture {architecture!r} to export; torchvision has {near}.")
    return torchvision.models.get_model(architecture, weights=None)


def _take_classifier(model: Any, architecture: str) -> str:
    """Put nothing in the place of the last linear layer, and say what it was called."""
    with libraries():
        from torch import nn
    linear: list[str] = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ExportRefused(f"{architecture} has no linear classifier at its end; export another architecture.")
    model.set_submodule(linear[-1], nn.Identity())
    return linear[-1]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
