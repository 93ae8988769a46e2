"""Models of other frameworks to ONNX: written, compared with the original on pictures, and only then put in place.

Imports neither Keras nor PyTorch; models.export_keras and models.export_torch do, once they are asked.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from models.check import reference
from models.encoder import CPU, Encoder, open_session, run
from models.errors import CheckFailed, ImageError, InvalidSpec, ModelError
from models.preprocess import Picture
from models.spec import NAME_PATTERN, FeatureSpec, InputSpec, ModelSpec, PreprocessSpec, catalogue, parse
from models.spec_file import write

#: Tensors of every exported graph.
PICTURES: Final = "pictures"
FEATURES: Final = "features"
#: The largest difference that any number of a feature vector may have between the original and ONNX.
BOUND: Final = 1e-3
#: The smallest cosine between the unit vector of the original and that of the encoder.
COSINE: Final = 0.9999
#: Characters; see models.spec.Name.
NAME_MAX: Final = 64
#: Pictures that are compared at most.
COMPARED: Final = 32
#: Pictures that go through both models together, after the first, which goes alone: the batch axis must be free.
TOGETHER: Final = 8


class ExportRefused(ModelError):
    """The model cannot be exported as asked, or its export is not the same model; nothing was written."""


class ExportUnavailable(ModelError):
    """What exporting needs is not installed, or cannot be had from here."""


@dataclass(frozen=True)
class Draft:
    """What is known of a model before its ONNX file is."""

    name: str
    title: str
    licence: str
    source: str
    #: Layout, and sides in pixels, of the input tensor, which is called `PICTURES` and takes float32.
    layout: str
    side: int
    preprocess: PreprocessSpec
    #: Numbers in a feature vector, which is the output `FEATURES`.
    dimension: int


class Original(Protocol):
    """A model in the framework that it comes from."""

    @property
    def draft(self) -> Draft: ...

    def write(self, file: Path) -> None:
        """Write one ONNX file with a free batch axis; raises ExportRefused."""

    def features(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """[n, ...] in the layout of the draft to [n, dimension], as the framework itself computes it."""


@dataclass(frozen=True)
class Agreement:
    """How well the ONNX file stands for the original."""

    #: Pictures that were compared.
    pictures: int
    #: Largest difference of any number of a feature vector, before it is made a unit vector.
    difference: float
    #: Smallest cosine of the unit vectors.
    cosine: float

    def __str__(self) -> str:
        return f"max difference {self.difference:.1e}, smallest cosine {self.cosine:.6f} on {self.pictures} pictures"


def export(original: Original, model_dir: Path, pictures: Iterable[bytes]) -> tuple[ModelSpec, Agreement]:
    """Write `original` and its specification into `model_dir`, if ONNX Runtime computes the same of `pictures`.

    Raises ExportRefused where it does not, or where there is such a model; then `model_dir` is as it was.
    """
    draft = original.draft
    refuse_bad_name(draft.name, model_dir)
    model_dir.mkdir(parents=True, exist_ok=True)
    # Inside `model_dir`, so that the files get their names without being copied.
    with tempfile.TemporaryDirectory(prefix=".export-", dir=model_dir) as folder:
        file = Path(folder, f"{draft.name}.onnx")
        original.write(file)
        spec = _specification(draft, file)
        encoder = Encoder(spec, file)
        agreement = compare(original, encoder, file, pictures)
        # A model that makes nothing of one of the pictures of the self-test does without.
        with suppress(CheckFailed):
            spec = spec.model_copy(update={"check": reference(encoder)})
        specification = Path(folder, f"{draft.name}.toml")
        write(spec, specification)
        file.replace(model_dir / file.name)
        # Last: with it the model is known to everybody.
        specification.replace(model_dir / specification.name)
    catalogue.cache_clear()
    return spec, agreement


def refuse_bad_name(name: str, model_dir: Path) -> None:
    """Raises ExportRefused if the name cannot be one, or if there is a model or a file of that name."""
    if not re.fullmatch(NAME_PATTERN, name) or len(name) > NAME_MAX:
        raise ExportRefused(f"{name!r} is no name; one has up to {NAME_MAX} of a-z, 0-9, - and . between them.")
    if name in catalogue(model_dir) or any((model_dir / f"{name}{end}").exists() for end in (".onnx", ".toml")):
        raise ExportRefused(f"There is a model {name} already; give this one another name by --name.")


def _specification(draft: Draft, file: Path) -> ModelSpec:
    """Raises InvalidSpec if the draft breaks a rule."""
    document = {
        "name": draft.name,
        "title": draft.title,
        "licence": draft.licence,
        "source": draft.source,
        "file": file.name,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "input": InputSpec.model_validate(
            {"tensor": PICTURES, "layout": draft.layout, "height": draft.side, "width": draft.side}
        ),
        "preprocess": draft.preprocess,
        "feature": FeatureSpec(tensor=FEATURES, dimension=draft.dimension),
    }
    return parse(document, draft.name)


# --- comparing


def compare(original: Original, encoder: Encoder, file: Path, pictures: Iterable[bytes]) -> Agreement:
    """Both models on the same prepared pictures, of which `COMPARED` are taken; raises ExportRefused."""
    if encoder.fixed_batch:
        raise InvalidSpec(f"{encoder.spec.name}: the exporter fixed the batch axis; use another version of it.")
    session = open_session(file.read_bytes(), [CPU], threads=1)
    differences: list[float] = []
    cosines: list[float] = []
    compared = 0
    for chunk in _chunks(islice(_prepared(encoder, pictures), COMPARED)):
        batch = np.stack([picture.array for picture in chunk])
        wanted = np.asarray(original.features(batch), np.float32)
        got = run(session, FEATURES, {PICTURES: batch}, encoder.spec.name)
        differences.append(_difference(wanted, got))
        cosines.extend(_cosines(wanted, encoder, chunk))
        compared += len(chunk)
    if not cosines:
        raise ExportRefused("No picture to compare on gives a vector; name a folder of pictures by --check.")
    return _agreed(Agreement(compared, float(np.max(differences)), float(np.min(cosines))), encoder.spec.name)


def _agreed(agreement: Agreement, name: str) -> Agreement:
    # Not `>`, which is false of what is no number.
    if not (agreement.difference <= BOUND and agreement.cosine >= COSINE):
        raise ExportRefused(
            f"The ONNX file of {name} computes something else than the original ({agreement}; allowed are "
            f"{BOUND:.0e} and {COSINE}); nothing was written. Use other versions of the exporting libraries."
        )
    return agreement


def _difference(wanted: NDArray[np.float32], got: NDArray[Any]) -> float:
    if wanted.shape != got.shape:
        raise ExportRefused(f"The original gives {wanted.shape}, its ONNX file {got.shape}; nothing was written.")
    return float(np.max(np.abs(wanted.astype(np.float64) - got)))


def _cosines(wanted: NDArray[np.float32], encoder: Encoder, chunk: list[Picture]) -> Iterator[float]:
    """One per picture in which the encoder finds something."""
    for row, vector in zip(wanted.astype(np.float64), encoder.encode(chunk), strict=True):
        if isinstance(vector, np.ndarray):
            with np.errstate(invalid="ignore"):  # what is no number agrees with nothing
                yield float(row @ vector / np.linalg.norm(row))


def _prepared(encoder: Encoder, pictures: Iterable[bytes]) -> Iterator[Picture]:
    """Pictures that can be read; the others are nothing to compare on."""
    for data in pictures:
        try:
            yield encoder.prepare(data)
        except ImageError:
            continue


def _chunks(pictures: Iterator[Picture]) -> Iterator[list[Picture]]:
    size = 1
    while chunk := list(islice(pictures, size)):
        yield chunk
        size = TOGETHER
