"""A model of one's own: from an ONNX file to a specification in the model folder, by way of the self-test."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from models import confined, external, spec_file
from models.candidates import Candidate
from models.errors import InvalidSpec, ModelError
from models.inspection import LOOK, Look, Wishes
from models.spec import CATALOG, ModelSpec, PreprocessSpec, catalogue, own_file, parse, read

#: Names of files that say nothing of the model; that of the folder says more.
_GENERIC: Final = frozenset(("model", "vision-model", "model-quantized", "model-fp16", "encoder", "visual"))
#: Bytes that are copied at once.
_CHUNK: Final = 2**20


class NameTaken(ModelError):
    """There is a model of that name, and it is another one."""


@dataclass(frozen=True)
class Words:
    """What a specification says for people."""

    name: str
    title: str
    licence: str
    source: str


@dataclass(frozen=True)
class Added:
    """What became of it."""

    spec: ModelSpec
    #: The specification.
    file: Path
    #: Seconds that one picture takes on one core of the CPU; none if the model was there before.
    seconds: float | None
    #: Whether another model had its name.
    replaced: bool = False


def looked(file: Path, wishes: Wishes) -> Look:
    """See models.inspection.look; in a process of its own."""
    size = _size(file)
    first = {"file": str(file), "custom_operators": wishes.custom_operators}
    names = confined.call("models.inspection:places_json", first, size=size)
    beside = sum(external.inside(file.parent, name).stat().st_size for name in names)
    argument = {"file": str(file), "wishes": asdict(wishes)}
    return LOOK.validate_python(confined.call("models.inspection:look_json", argument, size=size + beside))


def proposed_name(file: Path) -> str:
    """A name made of that of the file, or of its folder where that says nothing."""
    name = _slug(file.stem)
    if name in _GENERIC:
        folders = [part for part in reversed(file.absolute().parent.parts) if part != "onnx"]
        name = _slug(folders[0]) or name
    return name or "model"


def refuse_shipped(name: str) -> None:
    """Raises NameTaken for a name of a model that ships with imagefleet."""
    if name in {read(file).name for file in CATALOG.glob("*.toml")}:
        raise NameTaken(f"The model {name} ships with imagefleet; give this one another name by --name.")


def add(
    file: Path,
    folder: Path,
    words: Words,
    look: Look,
    chosen: Candidate,
    rule: PreprocessSpec,
    *,
    replace: bool = False,
    custom_operators: bool = False,
) -> Added:
    """Copy the files of the model into `folder`, try it out there, and only then let it be known.

    The same model again changes nothing. Raises NameTaken for another one of the same name, unless `replace`; then its
    ONNX file stays where it is. Raises InvalidSpec if the self-test fails; then `folder` is as it was.
    """
    refuse_shipped(words.name)
    folder.mkdir(parents=True, exist_ok=True)
    with _stage(folder) as stage:
        staged = stage / "model.onnx"
        sums = {name: _copy(external.inside(file.parent, name), stage / name) for name in look.external}
        if staged.name in sums:
            staged = stage / f"{words.name}.onnx"
        sha256 = _copy(file, staged)
        known = catalogue(folder).get(words.name)
        place = _place(folder, words.name, sha256, staged.name if sums else None)
        spec = parse(_document(words, place, sha256, sums, look, chosen, rule), words.name)
        if known is not None and known.fingerprint == spec.fingerprint:
            return Added(known, own_file(words.name, folder) or folder, None)
        if known is not None and not replace:
            raise NameTaken(_taken(known, spec))
        tried = _tried(spec, staged, custom_operators)
        spec = spec.model_copy(update={"check": parse(_with_check(spec, tried["check"]), words.name).check})
        specification = own_file(words.name, folder) or folder / f"{words.name}.toml"
        _install(stage, staged, folder / place, spec, specification)
    catalogue.cache_clear()
    return Added(spec, specification, tried["seconds"], known is not None)


def _taken(known: ModelSpec, new: ModelSpec) -> str:
    return (
        f"There is another model {known.name}, of fingerprint {known.fingerprint[:8]}, and this is "
        f"{new.fingerprint[:8]}; give this one another --name, index with it and let it take over by "
        f"`imagefleet models switch {known.name} --to NAME`, or --replace the old one, whose pictures must then be "
        "indexed again."
    )


def _document(
    words: Words, place: str, sha256: str, sums: dict[str, str], look: Look, chosen: Candidate, rule: PreprocessSpec
) -> dict[str, Any]:
    taken, feature = look.input, {"tensor": chosen.tensor, "pool": chosen.pool, "dimension": chosen.dimension}
    return {
        **asdict(words),
        "file": place,
        "sha256": sha256,
        "external": [{"file": name, "sha256": found} for name, found in sums.items()],
        "input": {key: getattr(taken, key) for key in ("tensor", "layout", "dtype", "height", "width")},
        "preprocess": rule,
        "feature": feature | ({"layout": chosen.layout} if chosen.layout and chosen.pool != "none" else {}),
    }


def _with_check(spec: ModelSpec, check: dict[str, Any]) -> dict[str, Any]:
    return spec.model_dump(exclude_none=True) | {"check": check}


def _tried(spec: ModelSpec, file: Path, custom_operators: bool) -> dict[str, Any]:
    """See models.trial.run_json; in a process of its own."""
    size = _size(file) + sum(_size(file.parent / part.file) for part in spec.external)
    argument = {
        "specification": spec.model_dump(mode="json", exclude_none=True),
        "file": str(file),
        "custom_operators": custom_operators,
    }
    answer: dict[str, Any] = confined.call("models.trial:run_json", argument, size=size)
    return answer


# --- names and files


def _slug(text: str) -> str:
    return re.sub(r"[.-]*-[.-]*", "-", re.sub(r"[^a-z0-9.]+", "-", text.lower())).strip(".-")[:64].strip(".-")


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise InvalidSpec(f"{file} cannot be read ({error.strerror}); name an ONNX file.") from None


@contextmanager
def _stage(folder: Path) -> Iterator[Path]:
    """A folder inside `folder`, so that files get their names there without being copied again."""
    with tempfile.TemporaryDirectory(prefix=".add-", dir=folder) as made:
        stage = Path(made, "model")
        stage.mkdir()
        yield stage


def _copy(source: Path, target: Path) -> str:
    """Copy a file and give the sha256 of what was copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source.open("rb") as reading, target.open("xb") as writing:
        while chunk := reading.read(_CHUNK):
            digest.update(chunk)
            writing.write(chunk)
    return digest.hexdigest()


def _place(folder: Path, name: str, sha256: str, inner: str | None) -> str:
    """Where the ONNX file goes in `folder`: nowhere that something is. With `inner`, in a folder with its weights."""
    for stem in (name, f"{name}-{sha256[:8]}", *(f"{name}-{sha256[:8]}-{number}" for number in range(2, 100))):
        place = f"{stem}/{inner}" if inner else f"{stem}.onnx"
        if not (folder / (stem if inner else place)).exists():
            return place
    raise InvalidSpec(f"{folder} is full of models called {name}; remove those that nothing needs.")


def _install(stage: Path, staged: Path, target: Path, spec: ModelSpec, specification: Path) -> None:
    """Give the files their names; the specification is last: with it the model is known to everybody."""
    new = stage.parent / "specification.toml"
    spec_file.write(spec, new)
    if spec.external:
        stage.replace(target.parent)
    else:
        staged.replace(target)
    new.replace(specification)
