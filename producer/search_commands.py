"""`search` and `result`: ask for pictures that are alike, and show the answer as a table, JSON or a contact sheet."""

from __future__ import annotations

import math
import tempfile
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from workers.contract import SearchAnswer

F = TypeVar("F", bound=Callable[..., Any])


class _Seconds(click.FloatRange):
    """Without `nan`, which is in no range and out of none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return number


def with_output(timeout: float) -> Callable[[F], F]:
    """Add the options that say how long to wait and how hits are shown."""
    seconds = _Seconds(0.1, 86_400)
    waits = click.option(
        "--timeout", type=seconds, default=timeout, show_default=True, metavar="S", help="Seconds to wait."
    )
    opens = click.option("--open", "open_it", is_flag=True, help="Open the contact sheet in the browser.")
    html = click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a contact sheet.")
    as_json = click.option("--json", "as_json", is_flag=True, help="For other programs.")
    return lambda command: as_json(html(opens(waits(command))))


@click.command()
@click.argument("pictures", metavar="[PICTURE]...", nargs=-1)
@click.option(
    "--like", multiple=True, metavar="PATH", help="An indexed image, instead of a picture; may be given again."
)
@click.option("--text", multiple=True, metavar="WORDS", help="What the pictures show, for models that read texts.")
@click.option("--model", "-m", metavar="M", help="Model to compare with.")
@click.option("--library", "-l", metavar="L", help="Name of the set of pictures.")
@click.option("--limit", "-k", default=10, show_default=True, metavar="K", help="Hits for each query.")
@with_output(60)
@click.option("--no-wait", is_flag=True, help="Print the id of the request and do not wait; see `result`.")
def search(
    pictures: Sequence[str],
    like: Sequence[str],
    text: Sequence[str],
    model: str | None,
    library: str | None,
    limit: int,
    as_json: bool,
    html: Path | None,
    open_it: bool,
    timeout: float,
    no_wait: bool,
) -> int | None:
    """Find indexed pictures that are like these. They may lie anywhere on this machine."""
    from producer.client import Client
    from producer.sheet import THUMBNAIL

    client = Client()
    sheet = _sheet(html, open_it)
    ask = {"model": model, "library": library, "limit": limit, "thumbnail": THUMBNAIL if sheet or no_wait else 0}
    if no_wait:
        click.echo("\n".join(client.search_async(pictures, like, text, **ask).tasks))  # type: ignore[arg-type]
        return None
    answer = client.search(pictures, like, text, timeout=timeout, **ask)  # type: ignore[arg-type]
    return _show(answer, client.settings.image_root, as_json, sheet, open_it)


@click.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@with_output(5)
def result(ids: Sequence[str], as_json: bool, html: Path | None, open_it: bool, timeout: float) -> int | None:
    """Fetch the answer to `search --no-wait`."""
    from producer.client import Client

    client = Client()
    sheet = _sheet(html, open_it)
    answer = client.result(ids, timeout)
    return _show(answer, client.settings.image_root, as_json, sheet, open_it)


def _sheet(html: Path | None, open_it: bool) -> Path | None:
    """Where the contact sheet goes, if one is wanted; raises CannotWrite before anything is searched."""
    from producer.sheet import must_be_writable

    if html is None and not open_it:
        return None
    file = html or Path(tempfile.mkdtemp(prefix="imagefleet-")) / "hits.html"
    must_be_writable(file)
    return file


def _show(answer: SearchAnswer, root: Path, as_json: bool, sheet: Path | None, open_it: bool) -> int | None:
    """Print the answer; the exit code is 2 if one of the queries could not be answered."""
    from producer import report
    from producer.sheet import write_sheet

    if as_json:
        click.echo(report.as_json(report.search_document(answer, root)))
    else:
        _show_hits(answer, root)
    if sheet:
        write_sheet(answer, root, sheet)
        click.echo(f"Contact sheet: {sheet.absolute()}", err=as_json)
        if open_it:
            webbrowser.open(sheet.absolute().as_uri())
    return 2 if _said_errors(answer) else None


def _show_hits(answer: SearchAnswer, root: Path) -> None:
    from producer import report
    from producer.job_commands import show
    from producer.shown import shown

    for one in answer.answers:
        if one.error is None:
            click.echo(f"{shown(one.query)} ({answer.model}, library {answer.library})")
            show(report.hits_table(one, root)) if one.hits else click.echo("  nothing is indexed there yet")


def _said_errors(answer: SearchAnswer) -> bool:
    from producer.shown import shown

    errors = [one for one in answer.answers if one.error]
    for one in errors:
        click.echo(f"imagefleet: {shown(one.query)}: {shown(one.error or '')}", err=True)
    return bool(errors)
