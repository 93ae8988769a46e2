"""`workers`: which worker processes there are, and what each spends its time on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from producer.job_commands import as_json_option

if TYPE_CHECKING:
    from rich.table import Table

    from workers.presence import Report

NOBODY = (
    "Nobody works here; start workers with `imagefleet up`, or on another machine with"
    " `celery -A workers.app worker -Q index.MODEL`."
)


@click.command()
@as_json_option
def workers(as_json: bool) -> None:
    """List the worker processes, with what each spends its time on.

    Figures are of the last minute. decode: waiting for pictures to be read and decoded, or doing so; session: running
    the model; store: waiting for Milvus; search: answering; queue: waiting for work.
    """
    from dataclasses import asdict

    from producer import report
    from producer.job_commands import show
    from workers.advice import advice
    from workers.presence import Presence
    from workers.settings import load

    found = Presence.from_settings(load()).living()
    if as_json:
        click.echo(report.as_json([asdict(item) | {"advice": advice(item)} for item in found]))
    elif not found:
        click.echo(NOBODY)
    else:
        show(_table(found))
        click.echo("".join(f"\n{line}" for line in _advice(found)), nl=False)


def _table(found: Iterable[Report]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from workers.clocks import STAGES

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("worker", "models", "provider"):
        table.add_column(column, overflow="fold")
    for column in ("images/s", "fill", *STAGES):
        table.add_column(column, justify="right", no_wrap=True)
    for item in found:
        fill = "" if item.fill is None else f"{item.fill:.0%}"
        figures = (f"{item.rate:.1f}", fill, *(f"{item.shares[stage]:.0%}" for stage in STAGES))
        provider = item.provider.removesuffix("ExecutionProvider")
        table.add_row(*map(Text, (_name(item), ",".join(item.models), provider, *figures)))
    return table


def _advice(found: Sequence[Report]) -> Iterator[str]:
    from workers.advice import advice

    for item in found:
        if line := advice(item):
            yield f"{_name(item)}: {line}\n"


def _name(item: Report) -> str:
    from producer.shown import shown

    return f"{shown(item.host)}:{item.pid}"
