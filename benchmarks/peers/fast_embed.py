"""fastembed's ImageEmbedding with its own parallelism; it embeds and stores nothing.

Runs in an environment of its own (benchmarks/peers/requirements-fastembed.in) and needs no network: the model is
added to the list of known ones and read from a folder.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fastembed import ImageEmbedding
from fastembed.common.model_description import DenseModelDescription, ModelSource
from fastembed.image.onnx_embedding import OnnxImageEmbedding, supported_onnx_models

NAME = "local/model"
# At import, since its worker processes import this file again. By default it takes the file's first output.
OnnxImageEmbedding.ONNX_OUTPUT_NAMES = [os.environ["IMAGEFLEET_BENCH_OUTPUT"]]
supported_onnx_models.append(
    DenseModelDescription(
        model=NAME,
        dim=1280,
        description="read from a folder",
        license="apache-2.0",
        size_in_GB=0.02,
        sources=ModelSource(hf=NAME),
        model_file="model.onnx",
    )
)
PREPROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 2,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def main() -> None:
    job: dict[str, Any] = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(job["model"], Path(folder) / "model.onnx")
        (Path(folder) / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
        model = ImageEmbedding(NAME, specific_model_path=folder, threads=1)
        began = time.perf_counter()
        vectors = list(model.embed(job["pictures"], batch_size=16, parallel=job["cores"]))
        seconds = time.perf_counter() - began
        assert len(vectors) == len(job["pictures"])
        assert len(vectors[0]) == job["dimension"]
    print(seconds)


if __name__ == "__main__":
    main()
