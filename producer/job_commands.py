"""`status`, `jobs`, `failures` and `cancel`: the commands that look at jobs and stop them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from producer.client import Client
    from workers.contract import Failure, FailureKind
    from workers.job_state import JobState

#: Seconds between two jobs of one and the same call of `index`, at most.
SAME_CALL = 10.0

as_json_option = click.option("--json", "as_json", is_flag=True, help="For other programs.")


def _known_classes(_context: click.Context, _parameter: click.Parameter, given: Sequence[str]) -> Sequence[str]:
    """Checked here, so that the list is loaded only by those who name one."""
    from typing import get_args

    from producer.places import nearest
    from producer.shown import shown
    from workers.contract import FailureKind

    known = get_args(FailureKind)
    for name in given:
        if name not in known:
            near = nearest(name, list(known)) or f"; the classes are {', '.join(known)}."
            raise click.UsageError(f"There is no class of failures {shown(name)}{near}")
    return given


of_classes = click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="CLASS",
    callback=_known_classes,
    help="Those only; may be given again.",
)


@click.command()
@click.argument("job", metavar="[JOB]", required=False)
@click.option("--watch", is_flag=True, help="Show progress until it is over; Ctrl-C leaves the job alone.")
@as_json_option
def status(job: str | None, watch: bool, as_json: bool) -> int | None:
    """Say how far a job is; without JOB, the jobs that are not over, or else the newest."""
    from producer import report
    from producer.client import Client

    client = Client()
    states = [client.status(job)] if job is not None else _of_interest(client.jobs())
    if watch and states and not _watched(client, states):
        return 130
    states = [client.status(state.id) for state in states] if watch else states
    if as_json:
        documents = [report.job_document(state) for state in states]
        click.echo(report.as_json(documents if job is None else documents[0]))
    else:
        lines = (line for state in states for line in report.job_lines(state, client.settings.image_root))
        click.echo("\n".join(lines) or NO_JOBS)
    return None


NO_JOBS = "There are no jobs yet; `imagefleet index DIR` makes one."


@click.command()
@click.option("--limit", default=20, show_default=True, help="The newest so many.")
@as_json_option
def jobs(limit: int, as_json: bool) -> None:
    """List the jobs, the newest first."""
    from producer import report
    from producer.client import Client

    client = Client()
    states = client.jobs(limit)
    if as_json:
        click.echo(report.as_json([report.job_document(state) for state in states]))
    elif not states:
        click.echo(NO_JOBS)
    else:
        show(report.jobs_table(states, client.settings.image_root))


@click.command()
@click.argument("job", metavar="JOB")
@of_classes
@click.option("--csv", "file", metavar="FILE", help="Write a table with path, class and reason; - for standard output.")
@as_json_option
def failures(job: str, classes: Sequence[FailureKind], file: str | None, as_json: bool) -> None:
    """List the images of a job that could not be indexed, with the reason of each."""
    from producer import report
    from producer.client import Client

    client = Client()
    found = client.failures(client.find(job), classes)
    if file is not None:
        _write_csv(found, file)
    elif as_json:
        click.echo(report.as_json([failure.model_dump() for failure in found]))
    else:
        empty = True
        for line in report.failure_lines(found, client.settings.image_root):
            empty = False
            click.echo(line)
        if empty:
            click.echo("No image of that job failed so." if classes else "No image of that job failed.")


@click.command()
@click.argument("job", metavar="JOB")
def cancel(job: str) -> None:
    """Stop a job: what no worker is busy with is taken back. What is indexed stays indexed."""
    from producer.client import Client

    client = Client()
    whole = client.find(job)
    done = client.cancel(whole)
    click.echo(f"Job {whole} is cancelled." if done else f"Job {whole} was over; there is nothing to cancel.")


def show(table: object) -> None:
    """Print something of rich's: as wide as the terminal, or as wide as it likes where there is none."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)
    with console.capture() as captured:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _of_interest(states: list[JobState]) -> list[JobState]:
    from producer.client import over

    if going_on := [state for state in states if not over(state)]:
        return going_on
    newest = states[0] if states else None
    return [state for state in states if newest and _of_one_call(state, newest)]


def _of_one_call(one: JobState, other: JobState) -> bool:
    return one.folders == other.folders and abs(one.created - other.created) < SAME_CALL


def _watched(client: Client, states: Iterable[JobState]) -> bool:
    """False if Ctrl-C ended it."""
    from producer.board import Board, left_behind
    from producer.progress import face

    ids = [state.id for state in states]
    try:
        with Board(client.ledger, client.listeners, face()) as board:
            board.follow(ids)
            board.until_over()
    except KeyboardInterrupt:
        click.echo(left_behind([client.status(job) for job in ids], walking=False), err=True)
        return False
    return True


def _write_csv(found: Iterable[Failure], name: str) -> None:
    from producer.report import write_csv
    from producer.sheet import cannot_write
    from producer.shown import counted, shown

    if name == "-":
        write_csv(found, sys.stdout)
        return
    try:
        with Path(name).open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            number = write_csv(found, stream)
    except OSError as error:
        raise cannot_write(Path(name), error) from None
    click.echo(f"{counted(number, 'failure')} written to {shown(name)}.")
