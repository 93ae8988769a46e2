"""Keras applications without their top, pooled. Imports Keras, on its PyTorch backend, when it is asked."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from models.export import Draft, ExportRefused, ExportUnavailable
from models.export_onnx import libraries, one_line, write_onnx
from models.spec import PreprocessSpec

#: How Keras calls the two ways of pooling.
_POOLINGS: Final = {"max": "max", "mean": "avg"}
#: Words for `weights` that are no file.
IMAGENET: Final = "imagenet"
NONE: Final = "none"
#: Ends of files that hold weights and nothing else that is read: HDF5, or the archive whose HDF5 alone is taken.
_WEIGHT_FILES: Final = (".h5", ".hdf5", ".keras")

#: keras.applications.imagenet_utils, mode "caffe".
_CAFFE: Final = PreprocessSpec(resize_to=256, channels="BGR", scale=1.0, mean=(103.939, 116.779, 123.68))
#: The same, mode "tf": from -1 to 1.
_TF: Final = PreprocessSpec(resize_to=256, scale=1 / 127.5, mean=(1.0, 1.0, 1.0))
#: The same, mode "torch".
_TORCH: Final = PreprocessSpec(resize_to=256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
#: Scaled by the graph itself.
_PIXELS: Final = PreprocessSpec(resize_to=256, scale=1.0)


class Application(NamedTuple):
    """How keras.applications uses one of its models."""

    preprocess: PreprocessSpec
    #: Of the weights for ImageNet; Keras ported those that it did not train.
    licence: str
    #: Pixels of a side.
    side: int = 224


_OXFORD: Final = "CC-BY-4.0 (weights of VGG, Oxford)"
_HE: Final = "MIT (weights of Kaiming He)"
_SEE: Final = "see keras.applications"

#: By the name of the function in keras.applications.
APPLICATIONS: Final = {
    "ResNet50": Application(_CAFFE, _HE),
    "ResNet101": Application(_CAFFE, _HE),
    "ResNet152": Application(_CAFFE, _HE),
    "VGG16": Application(_CAFFE, _OXFORD),
    "VGG19": Application(_CAFFE, _OXFORD),
    "ResNet50V2": Application(_TF, _SEE),
    "ResNet101V2": Application(_TF, _SEE),
    "ResNet152V2": Application(_TF, _SEE),
    "MobileNet": Application(_TF, _SEE),
    "MobileNetV2": Application(_TF, _SEE),
    "DenseNet121": Application(_TORCH, _SEE),
    "DenseNet169": Application(_TORCH, _SEE),
    "DenseNet201": Application(_TORCH, _SEE),
    "EfficientNetB0": Application(_PIXELS, _SEE),
    "EfficientNetV2B0": Application(_PIXELS, _SEE),
    "ConvNeXtTiny": Application(_PIXELS, _SEE),
}


@dataclass(frozen=True)
class KerasModel:
    """An Original: an application of Keras, `include_top=False`, with a global pooling layer at its end."""

    application: str
    #: `max` or `mean`.
    pool: str
    #: `imagenet`, `none` (random, always the same) or a file.
    weights: str
    name: str | None = None
    licence: str | None = None

    @cached_property
    def draft(self) -> Draft:
        """Raises ExportUnavailable or ExportRefused."""
        known = self._known
        return Draft(
            name=self.name or f"keras-{self.application.lower()}-{self.pool}",
            title=f"{self.application} of Keras, {self.pool} of the last map",
            licence=self.licence or self._licence_of_weights(),
            source=f"keras.applications.{self.application}, weights {Path(self.weights).name}",
            layout="NHWC",
            side=known.side,
            preprocess=known.preprocess,
            dimension=int(self._model.output_shape[-1]),
        )

    def write(self, file: Path) -> None:
        """One ONNX file; raises ExportRefused."""
        side = self._known.side
        write_onnx(_as_module(self._model), (side, side, 3), file)

    def features(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """[n, side, side, 3] to [n, dimension]: Keras' own prediction."""
        predicted: NDArray[np.float32] = self._model.predict_on_batch(batch)
        return predicted

    @property
    def _known(self) -> Application:
        if self.application not in APPLICATIONS:
            near = ", ".join(get_close_matches(self.application, APPLICATIONS, 3, 0.4)) or ", ".join(APPLICATIONS)
            raise ExportRefused(f"There is no Keras application {self.application!r} to export; near are {near}.")
        return APPLICATIONS[self.application]

    def _licence_of_weights(self) -> str:
        if self.weights == NONE:
            return "Apache-2.0 (random weights)"
        return self._known.licence if self.weights == IMAGENET else f"unknown: that of {Path(self.weights).name}"

    @cached_property
    def _model(self) -> Any:
        side = self._known.side
        keras = _keras()
        build = getattr(keras.applications, self.application)
        given = {"include_top": False, "pooling": _POOLINGS[self.pool]}
        keras.utils.set_random_seed(0)
        if self.weights == IMAGENET:
            return _fetched(build, self.application, input_shape=(side, side, 3), **given)
        model = build(weights=None, input_shape=(side, side, 3), **given)
        if self.weights != NONE:
            _fill(model, Path(self.weights), self.application)
        return model


def _keras() -> ModuleType:
    """Keras on PyTorch on the CPU; raises ExportUnavailable."""
    os.environ["KERAS_BACKEND"] = "torch"
    os.environ["KERAS_TORCH_DEVICE"] = "cpu"
    with libraries():
        import keras
        import torch  # noqa: F401  the backend
    if keras.backend.backend() != "torch":
        raise ExportUnavailable("Keras was loaded with another backend than PyTorch; run the export in a new process.")
    return cast(ModuleType, keras)


def _fetched(build: Any, application: str, **given: Any) -> Any:
    try:
        return build(weights=IMAGENET, **given)
    except Exception as error:  # Keras raises nothing more particular where the network fails
        raise ExportUnavailable(
            f"Keras could not fetch the weights of {application} ({one_line(error)}); get its file of weights without "
            "top on a machine that can, and name it by --weights FILE."
        ) from None


def _fill(model: Any, file: Path, application: str) -> None:
    if not file.is_file():
        raise ExportRefused(f"There is no file {file}; --weights takes imagenet, none or a file of weights.")
    if file.suffix not in _WEIGHT_FILES:
        raise ExportRefused(
            f"{file} is no file of weights ({', '.join(_WEIGHT_FILES)}); save one by model.save_weights."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.load_weights(file)
    except Exception as error:  # what HDF5, the archive or a layer raises
        raise ExportRefused(
            f"{file} does not fit {application} without top ({one_line(error)}); name that which it is of."
        ) from None


def _as_module(model: Any) -> Any:
    """A torch Module of one argument: the call of Keras takes any, which the exporter cannot name."""
    with libraries():
        from torch import nn

    class Wrapped(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pictures: Any) -> Any:
            return self.model(pictures)

    return Wrapped().eval()
