"""`models export`: a model of Keras or PyTorch becomes an ONNX file with its specification."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from models.export import Original

#: Pixels.
_SIDES = click.IntRange(32, 4096)


@click.command()
@click.argument("source", metavar="keras:APPLICATION|torch:FILE")
@click.option("--pool", type=click.Choice(["max", "mean"]), help="Keras: how the last map becomes a vector; max.")
@click.option("--weights", metavar="imagenet|none|FILE", help="Keras: what to fill it with; imagenet is downloaded.")
@click.option("--architecture", metavar="NAME", help="PyTorch: torchvision's name of it, as resnet18.")
@click.option("--size", type=_SIDES, help="PyTorch: pixels of a side of the input; 224.")
@click.option("--name", metavar="NAME", help="What to call the model.")
@click.option("--licence", metavar="TEXT", help="Of the weights, for the specification.")
@click.option("--check", type=click.Path(path_type=Path), metavar="DIR",
              help="Compare on pictures of this folder instead of drawn ones.")  # fmt: skip
@click.option("--model-dir", type=click.Path(file_okay=False, path_type=Path), envvar="IMAGEFLEET_MODEL_DIR",
              metavar="DIR", help="Where models are kept.")  # fmt: skip
@click.pass_context
def export(
    context: click.Context,
    source: str,
    pool: str | None,
    weights: str | None,
    architecture: str | None,
    size: int | None,
    name: str | None,
    licence: str | None,
    check: Path | None,
    model_dir: Path | None,
) -> None:
    """Make an ONNX model of one of Keras or PyTorch, without its classifier.

    The ONNX file is compared with the original on pictures, and is kept only if both give the same. Needs the extra
    `export`. Nothing in a file of weights is run.
    """
    from models import export_pictures
    from models.export import export as write
    from models.export import refuse_bad_name

    folder = model_dir or context.find_object(Path)
    if folder is None:
        raise click.UsageError("Say where models are kept: --model-dir DIR, or set IMAGEFLEET_MODEL_DIR.")
    folder = folder.expanduser().resolve()
    if check and not check.is_dir():
        raise click.BadParameter(f"There is no folder {check}.", param_hint="--check")
    if name is not None:
        refuse_bad_name(name, folder)
    framework, _, what = source.partition(":")
    if framework == "keras" and what:
        _refuse(framework, architecture=architecture, size=size)
        original = _keras(what, pool or "max", weights or "imagenet", name, licence)
    elif framework == "torch" and what:
        _refuse(framework, pool=pool, weights=weights)
        original = _torch(Path(what), architecture, size or 224, name, licence)
    else:
        raise click.UsageError(f"{source} is neither keras:APPLICATION nor torch:FILE.")
    refuse_bad_name(original.draft.name, folder)
    click.echo("Exporting and comparing; this takes a minute or two.", err=True)
    spec, agreement = write(original, folder, export_pictures.of_folder(check) if check else export_pictures.drawn())
    click.echo(f"{framework} and ONNX agree: {agreement}.")
    click.echo(f"Wrote {folder / spec.file} and {spec.name}.toml: {spec.feature.dimension} numbers for a picture.")
    click.echo(f"Use it: imagefleet index DIR --model {spec.name}")


def _refuse(framework: str, **given: object) -> None:
    """Options of the other framework."""
    for option, value in given.items():
        if value is not None:
            raise click.UsageError(f"--{option} has no meaning with {framework}:; leave it out.")


def _keras(application: str, pool: str, weights: str, name: str | None, licence: str | None) -> Original:
    from models.export_keras import KerasModel

    return KerasModel(application, pool, weights, name, licence)


def _torch(file: Path, architecture: str | None, side: int, name: str | None, licence: str | None) -> Original:
    from models.export_torch import TorchModel

    if architecture is None:
        raise click.UsageError("A file of weights does not say what it is of; add --architecture, as resnet18.")
    return TorchModel(file, architecture, side=side, name=name, licence=licence)
