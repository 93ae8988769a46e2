"""Reads files of weights that PyTorch wrote. Imports PyTorch, when it is asked.

Such a file is a pickle, and hostile: it is read by torch.load with weights_only=True, which runs nothing of it.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from models.export import ExportRefused
from models.export_onnx import libraries

#: Where training programs put the state dict inside a checkpoint.
_INSIDE: Final = ("state_dict", "model_state_dict", "model")
#: Training on several devices, and compiling, put a word before every name.
_WORDS: Final = re.compile(r"^(module\.|_orig_mod\.)+")


def state_dict(file: Path) -> dict[str, Any]:
    """Names and tensors in `file`, without running anything that lies in it; raises ExportRefused."""
    if not file.is_file():
        raise ExportRefused(f"There is no file {file}; name a state dict that PyTorch saved.")
    found: Any = None if _is_program(file) else _numbers(file)
    for key in _INSIDE:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not _is_state_dict(found):
        raise ExportRefused(
            f"{file} is no state dict, and nothing else is read, since it could run code; in the program that made "
            "the model save one: torch.save(model.state_dict(), FILE)."
        )
    return {_WORDS.sub("", key): value for key, value in found.items()}


def _numbers(file: Path) -> Any:
    """What PyTorch reads without running code; None if it refuses."""
    with libraries():
        import torch
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # whatever the bytes made the reader raise
        return None


def _is_state_dict(found: Any) -> bool:
    with libraries():
        from torch import Tensor
    return bool(
        isinstance(found, Mapping)
        and found
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in found.items())
    )


def _is_program(file: Path) -> bool:
    """Whether it is TorchScript or an exported program: graphs and code, not numbers alone."""
    if file.suffix == ".pt2":
        return True
    if not zipfile.is_zipfile(file):
        return False
    try:
        with zipfile.ZipFile(file) as archive:
            inner = {name.partition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError):
        return False  # the reader of numbers says what it thinks of it
    return any(name.startswith(("code/", "models/")) or name in {"constants.pkl", "archive_format"} for name in inner)
