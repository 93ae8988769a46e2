"""Where the ONNX file of a specification lies, and whether it is the one that the specification was written for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from models.errors import WeightsMismatch, WeightsMissing
from models.pins import FIRST_USE
from models.spec import BUILTIN, ModelSpec


def locate(spec: ModelSpec, model_dir: Path | None = None) -> Path:
    """The ONNX file: in `models/builtin`, or in `model_dir`, the user's folder; raises WeightsMissing."""
    if spec.builtin:
        folder = BUILTIN
    elif model_dir is not None:
        folder = model_dir
    else:
        raise WeightsMissing(f"The model {spec.name} needs {spec.file} and no model folder is set; set one.")
    file = folder / spec.file
    if not file.is_file():
        mend = f"run `imagefleet models pull {spec.name}`" if spec.download else "put it there"
        raise WeightsMissing(f"The model {spec.name} needs {spec.file}, which is not in {folder}; {mend}.")
    return file


def read(spec: ModelSpec, file: Path) -> bytes:
    """The bytes of the ONNX file of `spec`; see `checked`."""
    return checked(file, spec.sha256, spec.name)


def read_external(spec: ModelSpec, file: Path) -> Mapping[str, bytes]:
    """The bytes of the files that hold weights of the ONNX file `file`, by their names; see `checked`."""
    return {part.file: checked(file.parent / part.file, part.sha256, spec.name) for part in spec.external}


def checked(file: Path, sha256: str, model: str) -> bytes:
    """The bytes of `file`: what is checked is what is used. Raises WeightsMissing or WeightsMismatch."""
    if sha256 == FIRST_USE:
        raise WeightsMissing(f"No checksum of {file} is recorded yet; run `imagefleet models pull {model}`.")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise WeightsMissing(f"{file} cannot be read ({error.strerror}); see to it that it can.") from None
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise WeightsMismatch(
            f"{file} has sha256 {found}, but the specification of {model} is for {sha256}; get that file."
        )
    return data
