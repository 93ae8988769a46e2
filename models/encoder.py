"""Encoder: the one owner of an onnxruntime.InferenceSession. The only file that imports onnxruntime.

Make it in the process that uses it, after any fork: a session holds threads, and on a GPU a context, that do not
survive one.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models import graph, weights
from models.errors import InferenceFailed, InvalidSpec, NoVector, OutOfDeviceMemory, ProviderUnavailable
from models.opening import Limits
from models.preprocess import Picture, prepare
from models.providers import CPU as CPU
from models.providers import CUDA, TENSORRT, Device, Provider, is_out_of_memory, with_options
from models.spec import ModelSpec

# ONNX Runtime sends usage data by default since 1.32; this must be set before it is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

logger = logging.getLogger(__name__)

#: ONNX Runtime's scale: 3 is errors only.
_ERRORS_ONLY: Final = 3
_DTYPES: Final = {"tensor(uint8)": "uint8", "tensor(float16)": "float16", "tensor(float)": "float32"}

Vector = NDArray[np.float32]


class Encoder:
    """Pictures in, unit vectors out, for one model."""

    def __init__(
        self,
        spec: ModelSpec,
        file: Path,
        *,
        providers: Sequence[str] = (CPU,),
        cpu_fallback: bool = False,
        threads: int = 1,
        limits: Limits | None = None,
        device: Device | None = None,
        most: int = 32,
    ) -> None:
        """Load `file`, check it against `spec` and run it once.

        The first of `providers` must be the one that runs, unless `cpu_fallback`. `device` is what an accelerator is
        told, and `most` the pictures of a run that TensorRT gets ready for. Raises ModelError.
        """
        self.spec = spec
        self.limits = limits or Limits()
        model = graph.cut_at(weights.read(spec, file), spec.feature.tensor, weights.read_external(spec, file))
        names = _usable(providers, cpu_fallback)
        shapes = {spec.input.tensor: _shape(spec)}
        self._session = open_session(model, with_options(names, device or Device(), shapes, most), threads)
        #: The execution provider that runs.
        self.provider: str = self._session.get_providers()[0]
        if self.provider != providers[0] and not cpu_fallback:
            raise _unavailable(providers[0], f"ONNX Runtime fell back to {self.provider}")
        #: Pictures that one run takes: a number if the model's batch axis is fixed, else None.
        self.fixed_batch = _check_input(self._session, spec)
        #: Pictures that one run takes since the device had no memory for more; none before that.
        self.fits: int | None = None
        # An accelerator chooses or compiles kernels for each new shape: so there are few, and `most` is the last.
        self._most = most if self.provider != CPU else None
        self._warm_up()

    def prepare(self, data: bytes) -> Picture:
        """The bytes of an image, ready for `encode`; raises ImageError. See models.preprocess.prepare."""
        return prepare(data, self.spec, self.limits)

    def encode(self, pictures: Sequence[Picture]) -> list[Vector | NoVector]:
        """One entry per picture, in their order: a unit vector [dimension], or the error of that picture alone.

        Raises InferenceFailed if the session itself fails.
        """
        arrays = [picture.array for picture in pictures]
        vectors: list[Vector | NoVector] = []
        while len(vectors) < len(arrays):
            start = len(vectors)
            step = self.fixed_batch or self.fits or len(arrays)
            vectors += self._encoded(np.stack(arrays[start : start + step]))
        return vectors

    def time(self, size: int) -> float:
        """Seconds for one run of `size` blank pictures; raises OutOfDeviceMemory if they do not fit."""
        batch = np.zeros((size, *_shape(self.spec)), self.spec.input.dtype)
        began = time.perf_counter()
        self._run(batch)
        return time.perf_counter() - began

    def _encoded(self, batch: NDArray[Any]) -> list[Vector | NoVector]:
        """As much of the batch as fits on the device, from its beginning; half as much is tried until it does."""
        while True:
            try:
                return [_unit(row) for row in self._run(batch)]
            except OutOfDeviceMemory:
                if len(batch) == 1 or self.fixed_batch:
                    raise
                self.fits = len(batch) // 2
                logger.warning(
                    "The device has no memory for %d pictures of %s at once; it gets %d from now on: lower"
                    " IMAGEFLEET_MICRO_BATCH or the number of processes that share it.",
                    len(batch), self.spec.name, self.fits,
                )  # fmt: skip
                batch = batch[: self.fits]

    def _run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """[n, ...] to [n, dimension], not yet normalised."""
        count = len(batch)
        places = self.fixed_batch or (_even(count, self.fits or self._most) if self._most else count)
        if places > count:
            batch = np.concatenate([batch, np.zeros((places - count, *batch.shape[1:]), batch.dtype)])
        features = run(self._session, self.spec.feature.tensor, {self.spec.input.tensor: batch}, self.spec.name)
        return _pooled(features[:count].astype(np.float32, copy=False), self.spec)

    def _warm_up(self) -> None:
        """One blank picture, so that a wrong dimension shows now, and the first batch is not the slow one."""
        self._run(np.zeros((1, *_shape(self.spec)), self.spec.input.dtype))


# --- the session


def open_session(model: bytes, providers: Sequence[Provider], threads: int) -> Any:
    """An InferenceSession set up as all of ours are: quiet, without telemetry, with no idle thread that spins."""
    onnxruntime.disable_telemetry_events()
    onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads take the cores of the neighbouring processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(model, options, providers=list(providers))
    except Exception as error:
        raise InvalidSpec(f"ONNX Runtime refuses the model ({_one_line(error)}); get another file.") from None
    session.disable_fallback()
    return session


def run(session: Any, output: str, feeds: Mapping[str, NDArray[Any]], model: str) -> NDArray[Any]:
    """One run for one output; whatever ONNX Runtime raises becomes InferenceFailed, naming `model`."""
    try:
        (features,) = session.run([output], dict(feeds))
    except Exception as error:
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        kind = OutOfDeviceMemory if is_out_of_memory(str(error)) else InferenceFailed
        raise kind(f"The model {model} failed ({_one_line(error)}); see its file.") from None
    return np.asarray(features)


def present_providers() -> list[str]:
    """The execution providers that this build of ONNX Runtime has, the CPU first; whether each works shows in use."""
    # That one computes nothing here: it asks a service elsewhere.
    there = [name for name in onnxruntime.get_available_providers() if name not in (CPU, "AzureExecutionProvider")]
    return [CPU, *there]


def _usable(providers: Sequence[str], cpu_fallback: bool) -> list[str]:
    """The providers that this build of ONNX Runtime has, the CPU always last."""
    available = onnxruntime.get_available_providers()
    if providers[0] not in available and not cpu_fallback:
        raise _unavailable(providers[0], f"this ONNX Runtime has {', '.join(available)}")
    if {CUDA, TENSORRT} & set(providers) and hasattr(onnxruntime, "preload_dlls"):
        # Finds the CUDA libraries that came as packages.
        onnxruntime.preload_dlls()
    return list(dict.fromkeys([*(name for name in providers if name in available), CPU]))


def _unavailable(provider: str, why: str) -> ProviderUnavailable:
    return ProviderUnavailable(
        f"{provider} cannot be used here: {why}; install what it needs, or set another provider, or allow the CPU."
    )


def _even(count: int, most: int) -> int:
    """The next power of two that is not below `count`, or `most` where that comes first."""
    places = 1 << (count - 1).bit_length()
    return places if count > most else min(places, most)


def _check_input(session: Any, spec: ModelSpec) -> int | None:
    """The fixed size of the batch axis, if it is; raises InvalidSpec where model and specification disagree."""
    inputs = {item.name: item for item in session.get_inputs()}
    if list(inputs) != [spec.input.tensor]:
        raise InvalidSpec(f"{spec.name}: the model's inputs are {', '.join(inputs)}; correct input.tensor.")
    given = inputs[spec.input.tensor]
    if _DTYPES.get(given.type) != spec.input.dtype:
        raise InvalidSpec(f"{spec.name}: the model takes {given.type}; correct input.dtype.")
    fits = len(given.shape) == 4 and all(
        not isinstance(have, int) or have == want for have, want in zip(given.shape[1:], _shape(spec), strict=True)
    )
    if not fits:
        raise InvalidSpec(f"{spec.name}: the model takes {given.shape}; correct input.layout, height and width.")
    return given.shape[0] if isinstance(given.shape[0], int) else None


def _shape(spec: ModelSpec) -> tuple[int, int, int]:
    height, width = spec.input.height, spec.input.width
    return (3, height, width) if spec.input.layout == "NCHW" else (height, width, 3)


# --- the vectors


def _pooled(features: NDArray[np.float32], spec: ModelSpec) -> NDArray[np.float32]:
    """[n, ...] to [n, dimension] by the rule of the specification; raises InvalidSpec if that does not come out."""
    axes = (2, 3) if (spec.feature.layout or spec.input.layout) == "NCHW" else (1, 2)
    if spec.feature.pool != "none" and features.ndim == 4:
        features = features.max(axes) if spec.feature.pool == "max" else features.mean(axes)
    flat = features.reshape(len(features), -1)
    if flat.shape[1] != spec.feature.dimension:
        raise InvalidSpec(
            f"{spec.name}: {spec.feature.tensor} has the shape {list(features.shape[1:])}; "
            "correct feature.dimension or feature.pool."
        )
    return flat


def _unit(row: NDArray[np.float32]) -> Vector | NoVector:
    length = float(np.linalg.norm(row))
    if not np.isfinite(length) or length < np.finfo(np.float32).tiny:
        return NoVector("The model finds nothing in this picture to make a vector of; leave it out.")
    return row / np.float32(length)


def _one_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
