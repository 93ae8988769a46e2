"""Checksums that were recorded when a file was pulled first, and hold from then on.

They lie in the model folder: file -> sha256, for the files whose specification says FIRST_USE instead of a checksum.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import StringConstraints, TypeAdapter

from models.errors import InvalidSpec

#: In place of a checksum.
FIRST_USE: Final = "first-use"
#: In the model folder.
PINS: Final = "pins.json"

_DOCUMENT: Final = TypeAdapter(dict[str, Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]])


def read(folder: Path) -> Mapping[str, str]:
    """File -> checksum; raises InvalidSpec if what is there cannot be read."""
    file = folder / PINS
    try:
        return _DOCUMENT.validate_json(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidSpec(f"{file} cannot be read ({type(error).__name__}); repair it, or remove it.") from None


def record(folder: Path, file: str, sha256: str) -> None:
    """Hold `file` to `sha256` from now on. Not for two processes at once: the caller has a lock."""
    document = {**read(folder), file: sha256}
    new = folder / f".{PINS}.new"
    new.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    new.replace(folder / PINS)
