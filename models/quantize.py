"""Models of 8-bit integers, made of models of floats by ONNX Runtime's own tools: static, QDQ.

Beside models.encoder the only file that imports onnxruntime: its quantiser is a part of it. The choices here were made
on MobileNetV2 and SqueezeNet, with pictures that took no part in the calibration; docs/quantize.md has the figures.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from models import check, graph, spec_file, weights
from models.encoder import Encoder  # before onnxruntime: it switches off what that would send
from models.errors import ImageError, QuantizeRefused
from models.export import refuse_bad_name
from models.preprocess import Picture
from models.spec import ModelSpec, catalogue

from onnxruntime.quantization import (  # isort: skip
    CalibrationDataReader, QuantFormat, QuantType, quant_pre_process, quantize_static,
)  # fmt: skip

#: Pictures that a calibration needs.
LEAST: Final = 16
#: Neighbours of a picture that are compared.
NEAREST: Final = 10
#: Convolutions at the beginning that stay floats: the widest range of numbers, and little of the work.
KEPT: Final = 3
#: Pictures of which one range is taken; the ranges of all such groups are averaged, so that no odd picture sets them.
GROUP: Final = 4
#: Pictures in one run when the speed is measured, as in a worker.
TOGETHER: Final = 16
#: The first version of ONNX that has scales for each channel.
_OPSET: Final = 13


@dataclass(frozen=True)
class Comparison:
    """How well the quantised model stands for the original, on the pictures that it was calibrated on."""

    pictures: int
    #: Of the vectors of the same picture.
    mean_cosine: float
    smallest_cosine: float
    #: Nearest neighbours of each picture among the others; the share of them that both models name.
    nearest: int
    agreement: float
    #: Images per second of the original and of the new model, on one thread, without decoding.
    speeds: tuple[float, float]
    #: Of the files of the original and of the new model.
    bytes: tuple[int, int]


def quantize(
    spec: ModelSpec, file: Path, name: str, pictures: Sequence[Picture], model_dir: Path, *, seven_bits: bool = False
) -> tuple[ModelSpec, Comparison]:
    """Write the model `name`, which is `spec` in 8-bit integers, and its specification into `model_dir`.

    `pictures` are prepared for `spec`. With `seven_bits` weights have 7 bits, for processors on which 8 overflow.
    Raises QuantizeRefused, or another ModelError; then `model_dir` is as it was.
    """
    refuse(spec, name, model_dir)
    if len(pictures) < LEAST:
        raise QuantizeRefused(f"There are {len(pictures)} pictures to calibrate on; {LEAST} are needed, 100 are good.")
    original = Encoder(spec, file)
    model = graph.cut_at(weights.read(spec, file), spec.feature.tensor, weights.read_external(spec, file))
    if graph.is_quantised(model):
        raise QuantizeRefused(f"{spec.name} is a model of 8-bit integers already; name the one that it was made of.")
    # Inside `model_dir`, so that the files get their names without being copied.
    with tempfile.TemporaryDirectory(prefix=".quantize-", dir=model_dir) as work:
        folder = Path(work)
        made = _integers(model, _Calibration(original, pictures), folder, seven_bits=seven_bits)
        new_file = made.replace(folder / f"{name}.onnx")
        bare = _specification(spec, name, new_file, len(pictures))
        new = Encoder(bare, new_file)
        comparison = compare(original, new, pictures, (_size(spec, file), _size(bare, new_file)))
        complete = bare.model_copy(update={"check": check.reference(new, check.INTEGERS)})
        spec_file.write(complete, folder / f"{name}.toml")
        new_file.replace(model_dir / new_file.name)
        # Last: with it the model is known to everybody.
        (folder / f"{name}.toml").replace(model_dir / f"{name}.toml")
    catalogue.cache_clear()
    return complete, comparison


def refuse(spec: ModelSpec, name: str, model_dir: Path) -> None:
    """Raises ModelError for a model that cannot be quantised, and for a name that is none or is taken."""
    if spec.builtin:
        raise QuantizeRefused(f"{spec.name} has no learned weights and is small; there is nothing to quantise.")
    if spec.input.dtype == "float16":
        raise QuantizeRefused(f"{spec.name} takes float16; quantise the same model in float32.")
    refuse_bad_name(name, model_dir)


def _specification(spec: ModelSpec, name: str, file: Path, pictures: int) -> ModelSpec:
    (output,) = graph.parsed(file.read_bytes()).graph.output
    return ModelSpec(
        name=name,
        title=f"{spec.title}; in 8-bit integers",
        licence=spec.licence,
        source=spec.source,
        origin=f"quantised from {spec.name} (fingerprint {spec.fingerprint}) with {pictures} pictures",
        file=file.name,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        input=spec.input,
        preprocess=spec.preprocess,
        feature=spec.feature.model_copy(update={"tensor": output.name}),
        text=spec.text,
    )


def _size(spec: ModelSpec, file: Path) -> int:
    return sum(part.stat().st_size for part in (file, *(file.parent / other.file for other in spec.external)))


# --- the pictures


def choose(folder: Path, encoder: Encoder, count: int) -> list[Picture]:
    """Up to `count` pictures from all over `folder`, prepared; the same ones every time.

    Files that are no pictures are left out. Raises QuantizeRefused if there are fewer than `LEAST`.
    """
    files = sorted(Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    random.Random(count).shuffle(files)  # noqa: S311  no secret
    chosen: list[Picture] = []
    for picture in _prepared(files, encoder):
        chosen.append(picture)
        if len(chosen) == count:
            break
    if len(chosen) < LEAST:
        raise QuantizeRefused(f"Under {folder} are {len(chosen)} pictures; {LEAST} are needed, 100 are good.")
    return chosen


def _prepared(files: Sequence[Path], encoder: Encoder) -> Iterator[Picture]:
    for file in files:
        try:
            if file.is_file() and file.stat().st_size <= encoder.limits.max_file_bytes:
                yield encoder.prepare(file.read_bytes())
        except (ImageError, OSError):
            continue


# --- ONNX Runtime's tools


class _Calibration(CalibrationDataReader):  # type: ignore[misc]  # the library has no types
    """The pictures in groups, once."""

    def __init__(self, encoder: Encoder, pictures: Sequence[Picture]) -> None:
        self._tensor = encoder.spec.input.tensor
        size = encoder.fixed_batch or GROUP
        self._groups = iter([pictures[start : start + size] for start in range(0, len(pictures), size)])
        self._fixed = encoder.fixed_batch

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        group = list(next(self._groups, ()))
        if not group:
            return None
        if self._fixed:
            group += group[-1:] * (self._fixed - len(group))
        return {self._tensor: np.stack([picture.array for picture in group])}


def _integers(model: bytes, calibration: _Calibration, folder: Path, *, seven_bits: bool) -> Path:
    """A file in `folder` with the same model, its weights and most of what it computes in 8 bits."""
    plain, fused, made = (folder / f"{step}.onnx" for step in ("plain", "fused", "made"))
    with _quietly():
        onnx.save(_modern(graph.parsed(model)), plain)
        # Symbolic shapes are for transformers, and need a library of their own.
        quant_pre_process(plain, fused, skip_symbolic_shape=True)
        quantize_static(
            fused,
            made,
            calibration,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=seven_bits,
            # With signed activations ONNX Runtime is two to four times slower on x86.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_first_convolutions(fused),
            extra_options={"CalibMovingAverage": True},
        )
    return made


@contextmanager
def _quietly() -> Iterator[None]:
    """Whatever the tools raise becomes QuantizeRefused; what they write to the log is for their own developers."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    except Exception as error:  # they raise nothing more particular
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise QuantizeRefused(f"ONNX Runtime cannot quantise the model ({reason}); nothing was written.") from None
    finally:
        logging.disable(disabled)


def _modern(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same model of a version that the tools can work on: no weights among the inputs, each node with a name."""
    (version,) = (entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    if version < _OPSET:
        proto = onnx.version_converter.convert_version(proto, _OPSET)
    proto.ir_version = max(proto.ir_version, 8)
    held = {item.name for item in proto.graph.initializer}
    inputs = [item for item in proto.graph.input if item.name not in held]
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
    _name_output(proto.graph)
    for number, node in enumerate(proto.graph.node):
        node.name = f"node{number}"
    return proto


def _name_output(cut: onnx.GraphProto) -> None:
    """Where the feature has no name of its own (see models.graph.LAST), give it one: its node will not be the last."""
    (output,) = cut.output
    if output.name.startswith(graph.LAST):
        cut.node.append(onnx.helper.make_node("Identity", [output.name], ["quantised feature"]))
        output.name = "quantised feature"


def _first_convolutions(file: Path) -> list[str]:
    nodes = onnx.load(file).graph.node
    return [node.name for node in nodes if node.op_type == "Conv"][:KEPT]


# --- comparing


def compare(original: Encoder, new: Encoder, pictures: Sequence[Picture], sizes: tuple[int, int]) -> Comparison:
    """Both models on the same pictures; raises QuantizeRefused if one of them makes no vector of a picture."""
    (before, old), (after, quick) = _timed(original, pictures), _timed(new, pictures)
    cosines = (before * after).sum(axis=1)
    nearest = min(NEAREST, len(pictures) - 1)
    return Comparison(
        pictures=len(pictures),
        mean_cosine=float(cosines.mean()),
        smallest_cosine=float(cosines.min()),
        nearest=nearest,
        agreement=_agreement(before, after, nearest),
        speeds=(old, quick),
        bytes=sizes,
    )


def _timed(encoder: Encoder, pictures: Sequence[Picture]) -> tuple[NDArray[np.float32], float]:
    """Unit vectors [pictures, dimension], and images per second."""
    encoder.encode(pictures[:TOGETHER])  # the first run of a size is a slow one
    begin = time.perf_counter()
    starts = range(0, len(pictures), TOGETHER)
    vectors = [vector for start in starts for vector in encoder.encode(pictures[start : start + TOGETHER])]
    seconds = time.perf_counter() - begin
    found = [vector for vector in vectors if isinstance(vector, np.ndarray)]
    if len(found) < len(pictures):
        raise QuantizeRefused(
            f"{encoder.spec.name} makes no vector of {len(pictures) - len(found)} of the pictures; calibrate on others."
        )
    return np.stack(found), len(pictures) / seconds


def _agreement(before: NDArray[np.float32], after: NDArray[np.float32], nearest: int) -> float:
    pairs = zip(_neighbours(before, nearest), _neighbours(after, nearest), strict=True)
    return float(np.mean([len(np.intersect1d(left, right)) / nearest for left, right in pairs]))


def _neighbours(vectors: NDArray[np.float32], nearest: int) -> NDArray[np.intp]:
    """[n, nearest]: the pictures that are most like each, without itself."""
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -np.inf)
    return np.argsort(-likeness, axis=1)[:, :nearest]
