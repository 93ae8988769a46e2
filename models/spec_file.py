"""Writes a specification as the TOML file that models.spec reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from models.spec import ModelSpec, read


def write(spec: ModelSpec, file: Path) -> None:
    """Write `spec` so that reading `file` gives the same."""
    file.write_text("\n".join(_lines(spec.model_dump(mode="json", exclude_none=True))) + "\n", encoding="utf-8")
    assert read(file) == spec  # noqa: S101  a promise of this module


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    tables = {key: value for key, value in document.items() if isinstance(value, Mapping)}
    yield from (f"{key} = {_value(value)}" for key, value in document.items() if key not in tables)
    for key, table in tables.items():
        yield f"\n[{key}]"
        yield from _lines(table)


def _value(value: Any) -> str:
    """Strings, numbers and truth values of JSON are TOML too, but for one character."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(inner) for inner in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
