"""`prune`: remove images from the index whose file is gone, after saying how many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from producer.index_commands import of_models

if TYPE_CHECKING:
    from producer.client import Client
    from workers.contract import PruneAnswer


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path())
@of_models
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune(folder: str, models: Sequence[str], library: str | None, yes: bool) -> None:
    """Remove images below DIR from the index whose file is gone. Says first how many, and asks once."""
    from producer.client import Client
    from producer.shown import counted

    client = Client()
    found = {model: client.prune(folder, model=model, library=library) for model in models or client.settings.models}
    for model, answer in found.items():
        _say(client, folder, model, answer)
    gone = sum(answer.gone for answer in found.values())
    if not gone or not (yes or click.confirm(f"Remove {counted(gone, 'row')} from the index?")):
        return
    for model in (model for model, answer in found.items() if answer.gone):
        deleted = client.prune(folder, model=model, library=library, delete=True).deleted
        click.echo(f"{model}: {counted(deleted, 'image')} removed from the index; no file was touched.")


def _say(client: Client, folder: str, model: str, found: PruneAnswer) -> None:
    from producer.shown import counted, shown

    looked = f"{model}: {counted(found.looked_at, 'image')} below {shown(folder)}"
    if not found.gone:
        click.echo(f"{looked}, none of them gone.")
        return
    click.echo(f"{looked}, {found.gone:,} of them gone, for example:")
    click.echo("".join(f"  {shown(str(client.settings.image_root / path))}\n" for path in found.examples), nl=False)
    if found.gone == found.looked_at:
        click.echo("That is all of them; is a disk not mounted?")
