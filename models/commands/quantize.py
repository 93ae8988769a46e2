"""`models quantize`: a model of floats becomes one of 8-bit integers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from models.quantize import Comparison
    from models.spec import ModelSpec


@click.command()
@click.argument("name", metavar="M")
@click.option("--pictures", required=True, type=click.Path(path_type=Path), metavar="DIR",
              help="Calibrate on pictures from this folder; they should be like those that you index.")  # fmt: skip
@click.option("--count", default=100, show_default=True, type=click.IntRange(16, 1000), help="How many of them.")
@click.option("--name", "new_name", metavar="NEW", help="What to call the new model; M-int8 unless said otherwise.")
@click.option("--seven-bits", is_flag=True,
              help="For x86 processors without VNNI, on which 8 bits can overflow: weights of 7 bits.")  # fmt: skip
@click.option("--model-dir", type=click.Path(file_okay=False, path_type=Path), envvar="IMAGEFLEET_MODEL_DIR",
              metavar="DIR", help="Where models are kept.")  # fmt: skip
@click.pass_context
def quantize(
    context: click.Context,
    name: str,
    pictures: Path,
    count: int,
    new_name: str | None,
    seven_bits: bool,
    model_dir: Path | None,
) -> None:
    """Make a model of 8-bit integers: a quarter of the size, and often two to three times as fast on a CPU.

    It is a model of its own, whose vectors do not mix with those of M: index with it, and compare.
    """
    folder = model_dir or context.find_object(Path)
    if folder is None:
        raise click.UsageError("Say where models are kept: --model-dir DIR, or set IMAGEFLEET_MODEL_DIR.")
    if not pictures.is_dir():
        raise click.UsageError(f"There is no folder {pictures}; name one with pictures like those that you index.")
    new_name = new_name or f"{name}-int8"
    spec, found = _quantize(name, pictures, count, new_name, folder.expanduser().resolve(), seven_bits)
    click.echo(_report(name, spec, found))


def _quantize(
    name: str, pictures: Path, count: int, new_name: str, folder: Path, seven_bits: bool
) -> tuple[ModelSpec, Comparison]:
    from models import quantize as quantizing
    from models import weights
    from models.encoder import Encoder
    from models.spec import find

    original = find(name, folder)
    quantizing.refuse(original, new_name, folder)
    file = weights.locate(original, folder)
    chosen = quantizing.choose(pictures, Encoder(original, file), count)
    click.echo(f"Calibrating on {len(chosen)} pictures; this takes a minute or two.", err=True)
    return quantizing.quantize(original, file, new_name, chosen, folder, seven_bits=seven_bits)


def _report(name: str, spec: ModelSpec, found: Comparison) -> str:
    return "\n".join(
        (
            f"{spec.name}, compared with {name} on these {found.pictures} pictures:",
            f"  cosine         {found.mean_cosine:.4f} on average, {found.smallest_cosine:.4f} at least",
            f"  {f'top {found.nearest}':<14} {found.agreement:.0%} of the nearest pictures are the same",
            f"  images/s       {found.speeds[0]:.0f} before, {found.speeds[1]:.0f} now (one thread, without decoding)",
            f"  bytes          {found.bytes[0]:,} before, {found.bytes[1]:,} now",
            f"Use it: imagefleet index DIR --model {spec.name}",
        )
    )
