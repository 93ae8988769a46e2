"""PyTorch's ONNX exporter. Imports PyTorch, when it is asked."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.export import FEATURES, PICTURES, ExportRefused, ExportUnavailable


@contextmanager
def libraries() -> Iterator[None]:
    """For imports of what the extra `export` brings; raises ExportUnavailable."""
    try:
        yield
    except ImportError as error:
        raise ExportUnavailable(
            f"Exporting needs the extra `export`, which cannot be loaded here ({one_line(error)}); install "
            "imagefleet[export], or run `sh requirements/environment.sh export` and use .venv-export/bin/imagefleet."
        ) from None


def write_onnx(model: Any, shape: tuple[int, int, int], file: Path) -> None:
    """`model`, a torch Module of one argument, as ONNX from PICTURES [batch, *shape] to FEATURES.

    Raises ExportUnavailable or ExportRefused.
    """
    with libraries():
        import onnxscript  # noqa: F401  what the exporter writes with
        import torch
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                model,
                # Two, since the exporter takes an axis of one for a fixed one.
                (torch.zeros((2, *shape)),),
                file,
                dynamo=True,
                verbose=False,
                external_data=False,
                input_names=[PICTURES],
                output_names=[FEATURES],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
        except Exception as error:  # the exporter lets out what any layer raises
            raise ExportRefused(
                f"PyTorch cannot export this model ({one_line(error)}); use another version of it, or another model."
            ) from None


def one_line(error: BaseException) -> str:
    """The first line of what a library says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
