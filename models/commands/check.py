"""`models check`: whether models make the vectors here that their specifications say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from models.errors import ModelError

if TYPE_CHECKING:
    from models.check import Outcome
    from models.spec import ModelSpec

#: Exit codes: other vectors than there should be; something named that is not here.
_FAILED, _WRONG = 1, 2


@click.command()
@click.argument("names", metavar="[M]...", nargs=-1)
@click.option("--record", is_flag=True, help="Write what the model makes on the CPU here into its specification.")
@click.option("--bound", type=click.FloatRange(0, 1, min_open=True), metavar="COSINE",
              help="With --record: the smallest cosine that will do; 0.9999, or 0.95 for 8-bit integers.")  # fmt: skip
@click.option("--model-dir", type=click.Path(file_okay=False, path_type=Path), envvar="IMAGEFLEET_MODEL_DIR",
              metavar="DIR", help="Where models are kept.")  # fmt: skip
@click.pass_context
def check(
    context: click.Context, names: tuple[str, ...], record: bool, bound: float | None, model_dir: Path | None
) -> None:
    """Encode the pictures of the self-test with each model and compare with the vectors in its specification.

    All models that are on this machine, unless some are named; on the CPU and on every other provider that is there.
    Exit code 1 if one fails.
    """
    from models.spec import catalogue, find

    folder = model_dir or context.find_object(Path)
    if folder is None:
        raise click.UsageError("Say where models are kept: --model-dir DIR, or set IMAGEFLEET_MODEL_DIR.")
    if record and not names:
        raise click.UsageError("--record is for models that are named; name one.")
    if bound is not None and not record:
        raise click.UsageError("--bound is what --record writes; add --record, or leave it out.")
    folder = folder.expanduser().resolve()
    specs = [find(name, folder) for name in dict.fromkeys(names)] or sorted(catalogue(folder).values(), key=_name)
    if record:
        for spec in specs:
            _record(spec, folder, bound)
    elif not _compare(specs, folder, all_of_them=not names):
        context.exit(_FAILED)


def _name(spec: ModelSpec) -> str:
    return spec.name


def _record(spec: ModelSpec, folder: Path, bound: float | None) -> None:
    from models import check, weights
    from models.encoder import Encoder
    from models.spec import own_file

    specification = own_file(spec.name, folder)
    if specification is None:
        raise click.UsageError(f"{spec.name} ships with imagefleet as it is; --record is for models in {folder}.")
    file = weights.locate(spec, folder)
    check.record(specification, check.reference(Encoder(spec, file), bound or check.bound_of(spec, file)))
    click.echo(f"{specification}: what {spec.name} makes of the pictures of the self-test is written down.")


def _compare(specs: list[ModelSpec], folder: Path, *, all_of_them: bool) -> bool:
    """Whether none failed; raises WeightsMissing only where a model was asked for by name."""
    from models import weights
    from models.errors import WeightsMissing

    good, missing = True, []
    for spec in specs:
        try:
            good &= _show(spec, weights.locate(spec, folder), folder)
        except WeightsMissing:
            if not all_of_them:
                raise
            missing.append(spec.name)
        except ModelError as error:
            click.echo(f"{spec.name}: FAILED: {error}")
            good = False
    if missing:
        click.echo(f"Not on this machine: {', '.join(missing)}.")
    return good


def _show(spec: ModelSpec, file: Path, folder: Path) -> bool:
    """Whether it did not fail on any provider."""
    from models.check import outcomes
    from models.encoder import present_providers

    good = True
    for outcome in outcomes(spec, file, present_providers()[1:]):
        click.echo(f"{spec.name}: {outcome.provider}: {_sentence(outcome)}")
        good &= not outcome.failed
    if spec.check is None:
        click.echo(f"{spec.name}: has no reference vectors{_how_to_record(spec, folder)}.")
    return good


def _how_to_record(spec: ModelSpec, folder: Path) -> str:
    from models.spec import own_file

    return f"; `imagefleet models check {spec.name} --record` writes them" if own_file(spec.name, folder) else ""


def _sentence(outcome: Outcome) -> str:
    if outcome.error is not None:
        return f"{'FAILED' if outcome.failed else 'not usable'}: {outcome.error}"
    cosines = {"its reference": outcome.to_reference, "the CPU": outcome.to_cpu}
    parts = [f"cosine {cosine:.6f} to {what}" for what, cosine in cosines.items() if cosine is not None]
    if not parts:
        return f"runs, {outcome.seconds * 1000:.0f} ms"
    verdict = "FAILED" if outcome.failed else "ok"
    return f"{verdict}, {', '.join(parts)} (needed: {outcome.bound:g}), {outcome.seconds * 1000:.0f} ms"
