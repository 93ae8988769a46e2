"""What the figures are measured in: pictures, models, and a stack of its own that is stopped at the end."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from models import spec as specs
from models import weights
from producer.client import Client
from workers.local import samples
from workers.local.stack import Options, Stack, running

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("IMAGEFLEET_TEST_DATA") or ROOT / "../shared/data")


class World:
    """Everything lies in `folder` and goes with it."""

    def __init__(self, folder: Path, pictures: int, repeats: int, models: Sequence[str] | None) -> None:
        self.folder, self.count, self.repeats = folder, pictures, repeats
        self.model_dir = folder / "models"
        self.model_dir.mkdir()
        os.environ["IMAGEFLEET_MODEL_DIR"] = str(self.model_dir)
        self.models = tuple(models or ("colour", "gradient", *self._real_models()))

    @cached_property
    def pictures(self) -> list[Path]:
        """Drawn once, 320 x 240 pixels, in an order of its own."""
        samples.make(self.folder, -(-self.count // len(samples.VARIANTS)))
        return sorted((self.folder / "pictures").rglob("*.jpg"))[: self.count]

    @cached_property
    def queries(self) -> list[Path]:
        return sorted((self.folder / "queries").glob("*.jpg")) if self.pictures else []

    def encoder_files(self, model: str) -> tuple[specs.ModelSpec, Path]:
        spec = specs.find(model, self.model_dir)
        return spec, weights.locate(spec, self.model_dir)

    @contextmanager
    def stack(self, models: Sequence[str]) -> Iterator[Client]:
        """A running stack with these models and one worker process per core."""
        with self.whole_stack(models) as (_, client):
            yield client

    @contextmanager
    def whole_stack(self, models: Sequence[str], workers: int | None = None) -> Iterator[tuple[Stack, Client]]:
        """The same with its addresses and processes; `workers` for another number than one per core."""
        options = Options(workers=workers, models=tuple(models), root=self.folder, flower_port=0)
        with running(options) as stack:
            yield stack, Client()

    def network(self) -> str:
        """MobileNetV2 in fp32 where its file is at hand, else the first model."""
        return next(iter(self.real_networks()), self.models[0])

    def real_networks(self) -> list[str]:
        """The name of MobileNetV2 in fp32, if it is among the models."""
        return [name for name in self.models if name.startswith("mobilenetv2")]

    @staticmethod
    def library() -> str:
        """A name that nothing was indexed under yet."""
        return f"b{uuid.uuid4().hex[:8]}"

    def _real_models(self) -> Iterator[str]:
        """Those of the shared data, where they are at hand."""
        for file in sorted((ROOT / "tests" / "specs").glob("*.toml")):
            spec = specs.read(file)
            weights_file = DATA / "models" / Path(spec.file).stem / spec.file
            if weights_file.is_file():
                (self.model_dir / spec.file).symlink_to(weights_file.resolve())
                (self.model_dir / file.name).symlink_to(file.resolve())
                yield spec.name
