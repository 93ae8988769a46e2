"""What a peer is asked to do, and the picture preprocessing that tutorials show."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Job:
    #: An ONNX file, its input and its feature tensor.
    model: str
    input: str
    output: str
    dimension: int
    pictures: list[str]
    milvus: str
    redis: str
    collection: str
    #: Cores that may be used.
    cores: int


def read() -> Job:
    """The job on standard input."""
    return Job(**json.load(sys.stdin))


def preprocess(path: str) -> Any:
    """[1, 3, 224, 224] float32, as the model zoo's pages show it."""
    image = Image.open(path).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), dtype=np.float32) / 255
    pixels = (pixels - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    return pixels.transpose(2, 0, 1)[np.newaxis].astype(np.float32)


def unit(vector: Any) -> list[float]:
    flat = vector.reshape(-1)
    return list(map(float, flat / np.linalg.norm(flat)))


def make_collection(job: Job) -> Any:
    """A client, and an empty collection made the short way."""
    from pymilvus import MilvusClient

    client = MilvusClient(job.milvus)
    client.create_collection(
        job.collection, dimension=job.dimension, metric_type="COSINE", id_type="string", max_length=4096
    )
    return client
