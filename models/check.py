"""The self-test: whether a model makes the same vectors here that it made where its specification was written.

It goes the whole way, from the bytes of a picture to the vector, and so finds a provider that computes something else
as well as another decoder, another way to resize or a changed preprocessing.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models import golden, graph, spec_file, weights
from models.encoder import CPU, Encoder
from models.errors import CheckFailed, InvalidSpec, ModelError, ProviderUnavailable
from models.opening import Limits
from models.preprocess import prepare
from models.spec import CheckSpec, ModelSpec, catalogue, read

#: Smallest cosines that are recorded where nobody says otherwise. Floats differ in the last digits only; 8-bit integers
#: are rounded in more than one way: MobileNetV2 gave 0.977 between kernels of integers and floats that stand for them.
#: Wrong channels, another mean or another crop give less than 0.94.
FLOATS: Final = 0.9999
INTEGERS: Final = 0.95
#: Not those of the settings, which may leave this format out.
_LIMITS: Final = Limits(formats=("PPM",))


@dataclass(frozen=True)
class Outcome:
    """How a model did on one execution provider."""

    provider: str
    #: Of one pass over the golden pictures.
    seconds: float
    #: The smallest cosine that is good enough.
    bound: float
    #: Smallest cosine to the reference vectors; none where there are none.
    to_reference: float | None = None
    #: Smallest cosine to the vectors of the CPU; none for the CPU itself.
    to_cpu: float | None = None
    #: Why it could not be looked at.
    error: ModelError | None = None

    @property
    def failed(self) -> bool:
        """A provider that is not usable on this machine has not failed."""
        if self.error is not None:
            return not isinstance(self.error, ProviderUnavailable)
        # Not `<`: what is no number agrees with nothing.
        return not all(cosine >= self.bound for cosine in (self.to_reference, self.to_cpu) if cosine is not None)


def held(encoder: Encoder) -> Encoder:
    """The same encoder, if its vectors are those of its specification or it has none to compare; raises CheckFailed."""
    if encoder.spec.check is not None:
        bound, cosine = encoder.spec.check.bound, _to_reference(encoder.spec, _vectors(encoder))
        if not cosine >= bound:
            raise CheckFailed(
                f"{encoder.spec.name} on {encoder.provider} makes other vectors than it should (cosine {cosine:.5f} to"
                f" its reference, needed is {bound:g}); use another provider or another version of ONNX Runtime and"
                f" Pillow, or, if its specification is what is wrong, correct that; see `imagefleet models check`."
            )
    return encoder


def outcomes(spec: ModelSpec, file: Path, others: Sequence[str]) -> Iterator[Outcome]:
    """One for the CPU, and one for each of the `others`; raises ModelError if the CPU cannot run the model."""
    encoder = Encoder(spec, file)
    seconds, on_cpu = _timed(encoder)
    yield _outcome(spec, CPU, seconds, on_cpu)
    for provider in others:
        try:
            seconds, vectors = _timed(Encoder(spec, file, providers=(provider,)))
            yield replace(_outcome(spec, provider, seconds, vectors), to_cpu=_smallest_cosine(vectors, on_cpu))
        except ModelError as error:
            yield Outcome(provider, 0.0, 1.0, error=error)


def _timed(encoder: Encoder) -> tuple[float, NDArray[np.float32]]:
    begin = time.perf_counter()
    vectors = _vectors(encoder)
    return time.perf_counter() - begin, vectors


def _outcome(spec: ModelSpec, provider: str, seconds: float, vectors: NDArray[np.float32]) -> Outcome:
    if spec.check is None:
        return Outcome(provider, seconds, FLOATS)
    return Outcome(provider, seconds, spec.check.bound, to_reference=_to_reference(spec, vectors))


# --- recording


def reference(encoder: Encoder, bound: float | None = None) -> CheckSpec:
    """What `encoder` makes of the golden pictures; raises CheckFailed where it makes nothing of one."""
    rows = _vectors(encoder).astype("<f2")
    return CheckSpec(
        bound=bound or FLOATS, vectors=tuple(base64.b64encode(row.tobytes()).decode("ascii") for row in rows)
    )


def bound_of(spec: ModelSpec, file: Path) -> float:
    """`INTEGERS` for a quantised model, else `FLOATS`."""
    return INTEGERS if graph.is_quantised(weights.read(spec, file)) else FLOATS


def record(specification: Path, check: CheckSpec) -> ModelSpec:
    """Put `check` into a specification file; the file is the old one or the new one, whatever happens."""
    wanted = read(specification).model_copy(update={"check": check})
    new = specification.with_name(f".{specification.name}.new")
    try:
        new.write_text(_with_check(specification.read_text(encoding="utf-8"), check), encoding="utf-8")
        if not _says(new, wanted):
            # The table was written in a way that is not found; the file loses its comments.
            spec_file.write(wanted, new)
        new.replace(specification)
    finally:
        new.unlink(missing_ok=True)
    catalogue.cache_clear()
    return wanted


def _with_check(text: str, check: CheckSpec) -> str:
    """Comments and order of all else stay."""
    others = re.sub(r"^\[check\].*?(?=^\[|\Z)", "", text, flags=re.MULTILINE | re.DOTALL).rstrip()
    vectors = "".join(f'    "{vector}",\n' for vector in check.vectors)
    return f"{others}\n\n[check]\nbound = {check.bound}\nvectors = [\n{vectors}]\n"


def _says(file: Path, wanted: ModelSpec) -> bool:
    with suppress(InvalidSpec):
        return read(file) == wanted
    return False


# --- vectors


def _vectors(encoder: Encoder) -> NDArray[np.float32]:
    """[golden pictures, dimension], unit length; raises CheckFailed."""
    pictures = [prepare(data, encoder.spec, _LIMITS) for data in golden.pictures()]
    vectors = [vector for vector in encoder.encode(pictures) if isinstance(vector, np.ndarray)]
    if len(vectors) < len(pictures):
        raise CheckFailed(
            f"{encoder.spec.name} on {encoder.provider} makes no vector of a picture of the self-test; use another"
            " provider, or another file."
        )
    return np.stack(vectors)


def _to_reference(spec: ModelSpec, vectors: NDArray[np.float32]) -> float:
    assert spec.check is not None  # noqa: S101  the callers have looked
    if len(spec.check.vectors) != len(vectors):
        raise CheckFailed(
            f"The specification of {spec.name} has {len(spec.check.vectors)} reference vectors, the self-test has"
            f" {len(vectors)} pictures; run `imagefleet models check {spec.name} --record`."
        )
    rows = [np.frombuffer(base64.b64decode(text), "<f2") for text in spec.check.vectors]
    return _smallest_cosine(vectors, np.stack(rows).astype(np.float32))


def _smallest_cosine(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    """Of the rows, pair by pair; not a number if a row is none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        return float(np.min((left * right).sum(axis=1) / lengths))
