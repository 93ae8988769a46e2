"""`models`: which models there are, and what each needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from models.spec import ModelSpec
    from workers.settings import Settings


@click.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """Say which models there are."""
    if context.invoked_subcommand is None:
        context.invoke(list_models)


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="For other programs.")
def list_models(as_json: bool = False) -> None:
    """List the models of the catalogue."""
    from models.spec import catalogue
    from producer import report
    from producer.job_commands import show
    from workers.settings import load

    settings = load()
    known = [spec for _, spec in sorted(catalogue(settings.model_dir).items())]
    if as_json:
        click.echo(report.as_json([_document(spec, settings) for spec in known]))
        return
    show(report.models_table(_row(spec, settings) for spec in known))
    click.echo(f"`index` uses {' and '.join(settings.models)} unless --model or IMAGEFLEET_MODELS says otherwise.")


@models.command("show")
@click.argument("name", metavar="M")
def show_model(name: str) -> None:
    """Print everything that is known of one model, as JSON."""
    from models.spec import find
    from producer import report
    from workers.settings import load

    settings = load()
    click.echo(report.as_json(_document(find(name, settings.model_dir), settings)))


def _is_here(spec: ModelSpec, settings: Settings) -> bool:
    from models.spec import BUILTIN

    return ((BUILTIN if spec.builtin else settings.model_dir) / spec.file).is_file()


def _document(spec: ModelSpec, settings: Settings) -> dict[str, object]:
    here = {"fingerprint": spec.fingerprint, "is_here": _is_here(spec, settings)}
    return spec.model_dump(mode="json") | here


def _row(spec: ModelSpec, settings: Settings) -> tuple[str, ...]:
    size = f"{spec.input.width}x{spec.input.height}"
    there = "here" if _is_here(spec, settings) else "not on this machine"
    return spec.name, str(spec.feature.dimension), size, spec.licence, there, spec.title
