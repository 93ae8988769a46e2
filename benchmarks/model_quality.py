"""How well models find pictures of the same class, and how fast: the table in docs/models.md.

    python -m benchmarks.model_quality [MODEL | SPEC.toml ...] [--data ../shared/data]

Leave-one-out retrieval by cosine on caltech101 (25 classes x 20) and grocery (20 x 20): each picture asks for the rest
of its class. P@1 and P@10 are the shares of right answers among the first 1 and 10, mAP the mean of the average
precisions. Speed is decoding and encoding of caltech101 by one process with one thread; the files are read beforehand.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models import spec as specs
from models import weights
from models.encoder import Encoder

DEFAULT_DATA = Path(os.environ.get("IMAGEFLEET_TEST_DATA") or Path(__file__).parents[1] / "../shared/data")
MICRO_BATCH = 16


class Quality(NamedTuple):
    first: float
    ten: float
    average: float


def quality(vectors: NDArray[np.float32], labels: NDArray[np.str_]) -> Quality:
    """P@1, P@10 and mAP of leave-one-out retrieval; `vectors` [n, d] are unit vectors."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :-1]
    right = labels[order] == labels[:, None]
    precision = np.cumsum(right, axis=1) / np.arange(1, right.shape[1] + 1)
    averages = (precision * right).sum(axis=1) / right.sum(axis=1)
    return Quality(float(right[:, 0].mean()), float(right[:, :10].mean()), float(averages.mean()))


def labelled(folder: Path) -> tuple[list[bytes], NDArray[np.str_]]:
    """The pictures of every class that has at least 10, and their labels."""
    rows = [line.split("\t")[:2] for line in (folder / "manifest.tsv").read_text().splitlines()[1:]]
    size = Counter(label for _, label in rows)
    kept = [(path, label) for path, label in rows if size[label] >= 10]
    return [(folder / path).read_bytes() for path, _ in kept], np.array([label for _, label in kept])


def embed(encoder: Encoder, files: list[bytes]) -> NDArray[np.float32]:
    rows: list[NDArray[np.float32]] = []
    for start in range(0, len(files), MICRO_BATCH):
        for vector in encoder.encode([encoder.prepare(data) for data in files[start : start + MICRO_BATCH]]):
            if isinstance(vector, Exception):
                raise vector
            rows.append(vector)
    return np.stack(rows)


def row(spec: specs.ModelSpec, file: Path, data: Path) -> str:
    encoder = Encoder(spec, file)
    cells = [spec.name, str(spec.feature.dimension), f"{file.stat().st_size / 1e6:.2f}"]
    for name in ("caltech101", "grocery"):
        files, labels = labelled(data / "images" / name)
        began = time.perf_counter()
        vectors = embed(encoder, files)
        speed = len(files) / (time.perf_counter() - began)
        cells += [f"{figure:.3f}" for figure in quality(vectors, labels)]
        if name == "caltech101":
            rate = f"{speed:.0f}"
    return "| " + " | ".join([*cells, rate]) + " |"


def known(names: list[str], data: Path) -> Iterator[tuple[specs.ModelSpec, Path]]:
    for name in names:
        spec = specs.read(Path(name)) if name.endswith(".toml") else specs.find(name)
        yield spec, weights.locate(spec, data / "models" / Path(spec.file).stem)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("models", nargs="*", default=["colour", "gradient"])
    arguments.add_argument("--data", type=Path, default=DEFAULT_DATA)
    options = arguments.parse_args()
    if not options.data.is_dir():
        arguments.error(f"{options.data} is not there; name the folder of pictures with --data.")
    print("| model | dim | MB | caltech101 P@1 | P@10 | mAP | grocery P@1 | P@10 | mAP | images/s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for spec, file in known(options.models, options.data):
        print(row(spec, file, options.data), flush=True)


if __name__ == "__main__":
    main()
