"""`index` and `retry`: the commands that queue images."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from producer.job_commands import of_classes

if TYPE_CHECKING:
    from producer.board import Board
    from producer.client import Client, Job
    from producer.jobs import Started
    from producer.sources import Source
    from workers.contract import FailureKind

F = TypeVar("F", bound=Callable[..., Any])


def of_models(command: F) -> F:
    """Add --model, any number of times, and --library."""
    models = click.option("--model", "-m", "models", multiple=True, metavar="M", help="Model; may be given again.")
    library = click.option("--library", "-l", metavar="L", help="Name of the set of pictures.")
    return models(library(command))


waits = click.option("--wait/--no-wait", default=True, show_default=True, help="Show progress until all is done.")


@click.command()
@click.argument("folders", metavar="[DIR]...", nargs=-1, type=click.Path())
@of_models
@waits
@click.option("--retry-failed", is_flag=True, help="Try again what failed before, also where it has not changed.")
@click.option("--dry-run", is_flag=True, help="Count what would be queued, and queue nothing.")
@click.option("--from-file", metavar="LIST", help="Take paths from this file, one a line; - for standard input.")
@click.option("--null", is_flag=True, help="Paths in LIST are separated by NUL, as by `find -print0`.")
def index(
    folders: Sequence[str],
    models: Sequence[str],
    library: str | None,
    wait: bool,
    retry_failed: bool,
    dry_run: bool,
    from_file: str | None,
    null: bool,
) -> int | None:
    """Index all pictures below folders.

    What is indexed and has not changed is passed over, and what failed is not tried again unless it has changed, so the
    same command again is cheap. Ctrl-C leaves the work to the workers.
    """
    from producer.client import Client

    if bool(folders) == (from_file is not None):
        raise click.UsageError("Name folders to index, or a list with --from-file, and not both.")
    client = Client()

    def queue(source: Source) -> int | None:
        if dry_run:
            _count(source)
            return None
        feed = partial(client.feed, source, models, library, retry_failed=retry_failed)
        done = followed(client, lambda started: feed(started=started), wait)
        _name_unread(source)
        return done

    if from_file is None:
        return queue(client.walk(folders))
    with _opened(from_file) as stream:
        return queue(client.listed(stream, null=null))


@click.command()
@click.argument("job", metavar="JOB")
@of_classes
@waits
def retry(job: str, classes: Sequence[FailureKind], wait: bool) -> int | None:
    """Queue the failed images of a job again, whether they have changed or not."""
    from producer.client import Client

    client = Client()
    return followed(client, lambda started: [client.retry(job, classes, started=started)], wait)


def _count(source: Source) -> None:
    from producer.feeding import nothing_found
    from producer.shown import amounts, counted

    number = size = 0
    for image in source:
        number, size = number + 1, size + image.size
    if not number:
        raise nothing_found(source)
    click.echo(f"{counted(number, 'image')}, {size / 1e6:,.1f} MB in {source.where}; nothing was queued.")
    if source.skipped.reasons:
        click.echo(f"Skipped: {amounts(source.skipped.reasons)}.")
    _name_unread(source)


def _name_unread(source: Source) -> None:
    from producer.shown import shown

    for folder in source.skipped.unreadable:
        click.echo(f"Not read: {shown(folder)}", err=True)


def followed(
    client: Client, feed: Callable[[Started], Iterable[Job]], wait: bool, *, aside: bool = False
) -> int | None:
    """Feed jobs with a progress bar, wait if that is wanted, and say how it ended; `aside`: on standard error."""
    begun: list[Job] = []
    try:
        _watch(client, feed, wait, begun)
    except KeyboardInterrupt:
        return _left(begun)
    _say_how_it_went(client, begun, wait, aside)
    return None


def follow(client: Client, feed: Callable[[Started], Iterable[Job]]) -> Sequence[Job]:
    """The same for commands that go on with the finished jobs; Ctrl-C is theirs to handle."""
    begun: list[Job] = []
    _watch(client, feed, True, begun)
    _say_how_it_went(client, begun, True)
    return begun


def _watch(client: Client, feed: Callable[[Started], Iterable[Job]], wait: bool, begun: list[Job]) -> None:
    """Adds the jobs to `begun` as soon as they exist."""

    def started(jobs: Sequence[Job]) -> None:
        begun.extend(jobs)
        board.follow([job.id for job in jobs])

    with _board(client) as board:
        feed(started)
        if wait:
            board.until_over()


def _board(client: Client) -> Board:
    from producer.board import Board
    from producer.progress import face

    return Board(client.ledger, client.listeners, face())


def _left(jobs: Sequence[Job]) -> int:
    from producer.board import left_behind
    from producer.cli import INTERRUPTED

    states = [job.status() for job in jobs]
    click.echo(left_behind(states, walking=any(state.interrupted for state in states)), err=True)
    return INTERRUPTED


def _say_how_it_went(client: Client, jobs: Sequence[Job], waited: bool, aside: bool = False) -> None:
    from producer.report import summary_lines
    from producer.shown import amounts, counted

    states = [job.status() for job in jobs]
    for state in states:
        if waited:
            click.echo("\n".join(summary_lines(state)), err=aside)
        else:
            queued = counted(state.queued, "image")
            how = f"`imagefleet status {state.id} --watch` shows how far it is."
            click.echo(f"{state.model}: {queued} queued; {how}", err=aside)
    skipped = states[0].skipped
    if skipped:
        click.echo(f"Skipped: {amounts(skipped)}.", err=aside)


def _opened(name: str) -> BinaryIO:
    from producer.errors import FolderUnreadable
    from producer.shown import shown

    if name == "-":
        return sys.stdin.buffer
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise FolderUnreadable(f"The list {shown(name)} cannot be read ({error.strerror}).") from None
