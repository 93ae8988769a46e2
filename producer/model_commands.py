"""`models`: which models there are, and what each needs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

import click

from models.commands import COMMANDS

if TYPE_CHECKING:
    from models.spec import ModelSpec
    from workers.contract import SwitchAnswer
    from workers.settings import Settings


class ModelCommands(click.Group):
    """Those of this file, and those that work on model files: they need a worker's libraries and are loaded when asked
    for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, name = COMMANDS[cmd_name].partition(":")
        return cast(click.Command, getattr(import_module(module), name))


@click.group(cls=ModelCommands, invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """Say which models there are; get, add and compare them."""
    from workers.settings import load

    context.obj = load().model_dir
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


@models.command("switch")
@click.argument("name", metavar="M")
@click.option("--to", metavar="NEW", help="The model that is to answer for M from now on.")
@click.option("--undo", is_flag=True, help="Go back to the one before the last switch.")
@click.option("--library", "-l", metavar="L", help="Name of the set of pictures.")
@click.option("--sample", default=50, show_default=True, type=click.IntRange(1, 200), help="Images to compare.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def switch_model(name: str, to: str | None, undo: bool, library: str | None, sample: int, yes: bool) -> None:
    """Let NEW answer whenever M is asked for.

    Index the pictures with NEW first: it is built beside M while M serves. Shows how much of M's pictures NEW has and
    how far their nearest neighbours agree, and asks.
    """
    from producer.client import Client

    if (to is None) == (not undo):
        raise click.UsageError("Name the new model with --to, or go back with --undo.")
    client = Client()
    chosen = to or client.before(name, library)
    click.echo(_comparison(client.compare(name, chosen, library, sample), name, chosen))
    if yes or click.confirm(f"Let {chosen} answer for {name}?"):
        client.switch(name, chosen, library)
        click.echo(f"{chosen} answers for {name} now; `imagefleet models switch {name} --undo` goes back.")


def _comparison(found: SwitchAnswer, name: str, new: str) -> str:
    covered = found.sampled - found.missing
    lines = [
        f"{name} has {found.current_rows:,} rows, {new} has {found.new_rows:,}.",
        f"Of {found.sampled} images of {name}, {new} has {covered} ({covered / max(1, found.sampled):.0%}).",
    ]
    if found.overlap is not None:
        lines.append(f"They agree on {found.overlap:.0%} of the 10 nearest of these.")
    return "\n".join(lines)


def _is_here(spec: ModelSpec, settings: Settings) -> bool:
    from models.spec import BUILTIN

    return ((BUILTIN if spec.builtin else settings.model_dir) / spec.file).is_file()


def _document(spec: ModelSpec, settings: Settings) -> dict[str, object]:
    here = {"fingerprint": spec.fingerprint, "is_here": _is_here(spec, settings)}
    return spec.model_dump(mode="json", exclude={"check": {"vectors"}}) | here


def _row(spec: ModelSpec, settings: Settings) -> tuple[str, ...]:
    size = f"{spec.input.width}x{spec.input.height}"
    there = "here" if _is_here(spec, settings) else "not on this machine"
    return spec.name, str(spec.feature.dimension), size, spec.licence, there, spec.title
