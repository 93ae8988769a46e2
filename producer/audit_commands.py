"""`audit` and `why`: compare what is there with what is indexed, a folder or one image at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from producer.index_commands import followed, of_models, waits
from producer.job_commands import as_json_option

if TYPE_CHECKING:
    from producer.auditing import Audit
    from producer.client import Client, Job
    from producer.jobs import Started

#: Exit code where something differs and was not repaired.
DIFFERENT = 3


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path())
@of_models
@click.option("--repair", is_flag=True, help="Queue what is missing or stale, and remove rows without a file.")
@click.option("--yes", is_flag=True, help="Do not ask before rows are removed.")
@waits
@as_json_option
def audit(
    folder: str, models: Sequence[str], library: str | None, repair: bool, yes: bool, wait: bool, as_json: bool
) -> int | None:
    """Compare the pictures below DIR with the index, and change nothing.

    Says which files have no row, which have changed since they were indexed, which rows have no file, and which files
    failed. The exit code is 3 if anything has to be repaired.
    """
    from producer import audit_report, report
    from producer.client import Client

    client = Client()
    found = [client.audit(folder, model=model, library=library) for model in models or client.settings.models]
    if as_json:
        root = client.settings.image_root
        click.echo(report.as_json([audit_report.audit_document(one, root) for one in found]))
    else:
        _say(client, found, folder, repair)
    if not repair:
        return None if all(one.clean for one in found) else DIFFERENT
    return _repair(client, found, folder, yes, wait, aside=as_json)


@click.command()
@click.argument("picture", metavar="PATH")
@click.option("--query", metavar="PICTURE", help="Say also how near it is to this picture.")
@click.option("--model", "-m", metavar="M", help="Model to look at.")
@click.option("--library", "-l", metavar="L", help="Name of the set of pictures.")
@as_json_option
def why(picture: str, query: str | None, model: str | None, library: str | None, as_json: bool) -> None:
    """Say why the image at PATH is found or not."""
    from producer import audit_report, report
    from producer.client import Client

    client = Client()
    found, root = client.why(picture, query, model=model, library=library), client.settings.image_root
    if as_json:
        click.echo(report.as_json(audit_report.why_document(found, root)))
    else:
        click.echo("\n".join(audit_report.why_lines(found, root)))


def _say(client: Client, found: Sequence[Audit], folder: str, repair: bool) -> None:
    from producer import audit_report

    for one in found:
        click.echo("\n".join(audit_report.audit_lines(one, client.settings.image_root)))
    if not repair and (advice := audit_report.what_next(found, folder)):
        click.echo(advice)


def _repair(client: Client, found: Sequence[Audit], folder: str, yes: bool, wait: bool, *, aside: bool) -> int | None:
    for one in found:
        if one.to_repair and (code := _queue(client, one, folder, wait, aside)):
            return code
    orphaned = [one for one in found if one.orphaned]
    return _prune(client, orphaned, folder, yes, aside) if orphaned else None


def _queue(client: Client, one: Audit, folder: str, wait: bool, aside: bool) -> int | None:
    def feed(started: Started) -> list[Job]:
        return [client.repair(folder, model=one.model, library=one.library, started=started)]

    return followed(client, feed, wait, aside=aside)


def _prune(client: Client, orphaned: Sequence[Audit], folder: str, yes: bool, aside: bool) -> int | None:
    """Remove rows without a file, after asking once; other programs are not asked, so that nothing is removed."""
    from producer.shown import counted

    rows = counted(sum(one.orphaned for one in orphaned), "row")
    if not yes and (aside or not click.confirm(f"Remove {rows} without a file from the index?")):
        return DIFFERENT
    for one in orphaned:
        deleted = client.prune(folder, model=one.model, library=one.library, delete=True).deleted
        click.echo(f"{one.model}: {counted(deleted, 'row')} removed from the index; no file was touched.", err=aside)
    return None
