"""ModelSpec: what one must know of an ONNX file to use it exactly as it was trained.

A specification is a TOML file in the catalogue. This module reads and checks it and nothing else: it imports neither
onnxruntime nor Pillow nor numpy, so that a producer can ask which models there are.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from models import pins
from models.errors import InvalidSpec, UnknownModel
from models.pins import FIRST_USE

#: A name that is safe in queue names, file names and, escaped, in collection names.
NAME_PATTERN = r"^[a-z0-9]+([.-][a-z0-9]+)*$"
#: Specifications that ship with imagefleet.
CATALOG = Path(__file__).with_name("catalog")
#: Built-in ONNX files lie beside the script that makes them.
BUILTIN = Path(__file__).with_name("builtin")

#: Where they are not used, the fingerprint is what it was before there were such keys.
_LATER_KEYS = (("preprocess", "longer"), ("feature", "layout"))

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=64)]
#: A file in the model folder, or in one folder of its own there.
OnnxFile = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*\.onnx$", max_length=128)
]
#: As an ONNX file names the files beside it; folders are allowed, steps upwards are not.
EXTERNAL_NAME = r"^(\w[\w.:@+-]*/){0,4}\w[\w.:@+-]*$"
ExternalName = Annotated[str, StringConstraints(pattern=EXTERNAL_NAME, max_length=256)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
#: Or the word for: whatever is pulled first; see models.pins.
Checksum = Sha256 | Literal["first-use"]
#: A full HTTPS address, or a path below the models' home (see models.download), without steps upwards.
Address = Annotated[
    str, StringConstraints(pattern=r"^(https://\S+|[\w@+-][\w.@+-]*(/[\w@+-][\w.@+-]*)*)$", max_length=512)
]
#: Of a file, where it is known.
Bytes = Annotated[int, Field(ge=1, le=64 * 2**30)]
Base64 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]+={0,2}$", max_length=100_000)]
Triple = tuple[float, float, float]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputSpec(_Strict):
    """The tensor that takes pictures."""

    tensor: str
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    dtype: Literal["uint8", "float16", "float32"] = "float32"
    #: Pixels.
    height: int = Field(ge=1, le=4096)
    #: Pixels.
    width: int = Field(ge=1, le=4096)


class PreprocessSpec(_Strict):
    """From an upright RGB picture to the numbers that the input tensor expects: `(pixel * scale - mean) / std`."""

    #: `shorter`: the shorter side becomes `resize_to`, the longer keeps the ratio, then the centre is cut out.
    #: `exact`: both sides are stretched to the input's size, or to `resize_to` and then the centre is cut out.
    resize: Literal["shorter", "exact"] = "shorter"
    #: Pixels; required for `shorter`.
    resize_to: int | None = Field(default=None, ge=1, le=8192)
    #: What becomes of a fraction of a pixel in the longer side; none is `round`. Python's and PyTorch's own
    #: preprocessing differ in this.
    longer: Literal["round", "floor"] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos", "box"] = "bilinear"
    channels: Literal["RGB", "BGR"] = "RGB"
    scale: float = 1 / 255
    #: Per channel in the order of `channels`.
    mean: Triple = (0.0, 0.0, 0.0)
    #: Per channel in the order of `channels`.
    std: Triple = (1.0, 1.0, 1.0)


class FeatureSpec(_Strict):
    """The tensor that is the vector; an inner tensor is made an output when the model is loaded."""

    tensor: str
    #: How a spatial map [N,C,H,W] (or [N,H,W,C] if the input is NHWC) becomes [N,C].
    pool: Literal["none", "max", "mean"] = "none"
    #: Axes of the spatial map where they are not those of the input.
    layout: Literal["NCHW", "NHWC"] | None = None
    dimension: int = Field(ge=1, le=32_768)


class ExternalFile(_Strict):
    """A file beside the ONNX file that holds weights of it."""

    #: Relative to the folder of the ONNX file, as written in it.
    file: ExternalName
    sha256: Sha256


class TextSpec(_Strict):
    """The other half of a two-tower model: texts in, vectors that are comparable with those of pictures out.

    It changes no picture's vector, so it is no part of the fingerprint.
    """

    file: OnnxFile
    sha256: Checksum
    #: A `tokenizer.json` of the tokenizers library.
    tokenizer: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.json$", max_length=128)]
    tokenizer_sha256: Checksum
    #: Input tensor of the token ids, integers [N, length].
    ids: str
    #: Input tensor of ones where there is a token, if the model has one.
    mask: str | None = None
    #: Tokens; longer texts are cut.
    length: int = Field(ge=1, le=4096)
    #: Token that fills up to `length` where that axis is fixed.
    pad: int = Field(default=0, ge=0)
    #: Output tensor, [N, dimension].
    feature: str
    #: Where the files can be had, and their sizes; see DownloadSpec.
    download: Address | None = None
    bytes: Bytes | None = None
    tokenizer_download: Address | None = None
    tokenizer_bytes: Bytes | None = None

    @model_validator(mode="after")
    def _first_use_needs_an_address(self) -> TextSpec:
        _refuse_first_use_without(self.sha256, self.download)
        _refuse_first_use_without(self.tokenizer_sha256, self.tokenizer_download)
        return self


class DownloadSpec(_Strict):
    """Where the ONNX file can be had. It changes no vector, so it is no part of the fingerprint."""

    url: Address
    bytes: Bytes | None = None


class CheckSpec(_Strict):
    """What the model makes of the pictures of the self-test (models.golden), so that a machine that makes something
    else of them is found out. It changes no vector, so it is no part of the fingerprint.
    """

    #: The smallest cosine to these vectors that is good enough.
    bound: float = Field(gt=0, le=1)
    #: One for each picture: base64 of `dimension` float16 numbers, little-endian.
    vectors: tuple[Base64, ...] = Field(min_length=1, max_length=16)


class ModelSpec(_Strict):
    """One model. Equal fingerprints mean comparable vectors; nothing else does."""

    name: Name
    title: str
    licence: str
    source: str
    #: What the model was made of, where imagefleet made it.
    origin: str | None = Field(default=None, max_length=1000)
    #: Name of the ONNX file, in `models/builtin` or in the model folder of the settings.
    file: OnnxFile
    sha256: Checksum
    external: tuple[ExternalFile, ...] = Field(default=(), max_length=4096)
    builtin: bool = False
    input: InputSpec
    preprocess: PreprocessSpec = PreprocessSpec()
    feature: FeatureSpec
    text: TextSpec | None = None
    download: DownloadSpec | None = None
    check: CheckSpec | None = None

    @model_validator(mode="after")
    def _crop_fits_inside_the_resized_picture(self) -> ModelSpec:
        size = self.preprocess.resize_to
        needed = self.preprocess.resize == "shorter"
        if (size is None and needed) or (size is not None and size < max(self.input.height, self.input.width)):
            raise ValueError("preprocess.resize_to must be at least the input's height and width")
        return self

    @model_validator(mode="after")
    def _bytes_go_in_unchanged(self) -> ModelSpec:
        rule = self.preprocess
        if self.input.dtype == "uint8" and (rule.scale, *rule.mean, *rule.std) != (1, 0, 0, 0, 1, 1, 1):
            raise ValueError("an input of uint8 takes pixels as they are: scale = 1, no mean, no std")
        return self

    @model_validator(mode="after")
    def _first_use_needs_an_address(self) -> ModelSpec:
        _refuse_first_use_without(self.sha256, self.download)
        return self

    @model_validator(mode="after")
    def _reference_vectors_have_the_dimension(self) -> ModelSpec:
        lengths = {len(text) * 3 // 4 - text.count("=") for text in (self.check.vectors if self.check else ())}
        if lengths - {2 * self.feature.dimension}:
            raise ValueError("check.vectors must be feature.dimension numbers of float16 each, in base64")
        return self

    @property
    def fingerprint(self) -> str:
        """32 hex digits over the ONNX file and all of the specification that can change a vector.

        Without the file's checksum (see models.pins) it is that of no vectors.
        """
        relevant = self.model_dump(mode="json", include={"sha256", "input", "preprocess", "feature"})
        for part, key in _LATER_KEYS:
            if relevant[part][key] is None:
                del relevant[part][key]
        if self.external:
            relevant["external"] = sorted((part.file, part.sha256) for part in self.external)
        canonical = json.dumps(relevant, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()


def _refuse_first_use_without(sha256: str, download: object) -> None:
    if sha256 == FIRST_USE and download is None:
        raise ValueError(f"a checksum of {FIRST_USE!r} needs an address to download from")


def parse(document: Mapping[str, Any], origin: str) -> ModelSpec:
    """Check a decoded TOML document; raises InvalidSpec naming `origin` and the first offending key."""
    try:
        return ModelSpec.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InvalidSpec(f"{origin}: {key}: {first['msg']}; correct the specification.") from None


def read(file: Path) -> ModelSpec:
    """Read one specification file; raises InvalidSpec."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidSpec(f"{file}: cannot be read as TOML ({error}); correct the specification.") from None
    return parse(document, str(file))


@lru_cache(maxsize=8)
def catalogue(own: Path | None = None) -> Mapping[str, ModelSpec]:
    """All known models by name; files in `own`, the user's folder, add to those that ship.

    Checksums that were recorded at first use are filled in.
    """
    known = pins.read(own) if own else {}
    return {spec.name: spec for file in _files(own) for spec in (_pinned(read(file), known),)}


def find(name: str, own: Path | None = None) -> ModelSpec:
    """The specification of that name; raises UnknownModel, whose text lists the names there are."""
    known = catalogue(own)
    if name not in known:
        raise UnknownModel(f"There is no model {name!r}; known are {', '.join(sorted(known))}.")
    return known[name]


def own_file(name: str, own: Path) -> Path | None:
    """The file in `own`, the user's folder, that specifies the model of that name."""
    files = [file for file in sorted(own.glob("*.toml")) if read(file).name == name]
    return files[-1] if files else None


def _pinned(spec: ModelSpec, known: Mapping[str, str]) -> ModelSpec:
    """`spec` with its checksums of FIRST_USE replaced where they are known."""
    changes: dict[str, Any] = {}
    if spec.sha256 == FIRST_USE:
        changes["sha256"] = known.get(spec.file, FIRST_USE)
    if spec.text is not None:
        changes["text"] = _pinned_text(spec.text, known)
    return spec.model_copy(update=changes)


def _pinned_text(text: TextSpec, known: Mapping[str, str]) -> TextSpec:
    changes: dict[str, str] = {}
    if text.sha256 == FIRST_USE:
        changes["sha256"] = known.get(text.file, FIRST_USE)
    if text.tokenizer_sha256 == FIRST_USE:
        changes["tokenizer_sha256"] = known.get(text.tokenizer, FIRST_USE)
    return text.model_copy(update=changes)


def _files(own: Path | None) -> Iterator[Path]:
    yield from sorted(CATALOG.glob("*.toml"))
    if own is not None and own.is_dir():
        yield from sorted(own.glob("*.toml"))
