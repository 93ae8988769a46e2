"""`demo`: the main job from nothing to a contact sheet, on sample pictures or on one's own, in a stack of its own."""

from __future__ import annotations

import os
import random
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from producer.errors import CannotWrite, FolderMissing, NothingFound

if TYPE_CHECKING:
    from producer.client import Client, Job
    from workers.contract import Answer, SearchAnswer

#: Everything that the demo writes lies here, below the working folder.
HOME = Path("demo")
#: Pictures of one's own that are searched for.
OWN_QUERIES = 6
#: Queries of each model on the contact sheet.
SHEET_QUERIES = 6
#: Hits that are looked at for a right answer, and shown.
LIMIT = 10
#: Queries whose hits are printed.
PRINTED = 2


@dataclass(frozen=True, slots=True)
class Exhibition:
    """What is indexed, and what is searched for."""

    folder: Path
    queries: Sequence[Path]
    #: A name of its own for each folder, so that one demo finds nothing of another.
    library: str
    #: Whether a hit, relative to `folder`, is a right answer to a query.
    is_right: Callable[[Path, str], bool]
    #: What a right answer is, after "found".
    right: str


@click.command()
@click.option("--dir", "folder", type=click.Path(path_type=Path), metavar="DIR", help="Your own pictures.")
@click.option("--keep", is_flag=True, help="Leave everything running, to go on with.")
@click.option("--families", default=60, show_default=True, type=click.IntRange(1, 999), help="Of six sample pictures.")
def demo(folder: Path | None, keep: bool, families: int) -> None:
    """Show the whole way on sample pictures, or on your own: index, search, contact sheet.

    Starts a stack of its own in ./demo, apart from one that runs already, and stops it at the end.
    """
    from producer.stack_commands import end_with, ending_like_ctrl_c
    from workers.local.errors import AlreadyRuns, StackError

    with ending_like_ctrl_c():
        try:
            _show(folder, keep, families)
        except AlreadyRuns:
            end_with(AlreadyRuns(f"A demo runs already in {HOME.absolute()}; `{_in_its_world('down')}` ends it."))
        except StackError as error:
            end_with(error)


def _show(folder: Path | None, keep: bool, families: int) -> None:
    from producer.client import Client

    _world_of_its_own()
    exhibition = _samples(families) if folder is None else _own(folder)
    click.echo("Starting Redis, Milvus Lite, workers and Flower ...")
    with _stack(exhibition.folder, keep):
        client = Client()
        jobs = _index(client, exhibition)
        answers = {job.model: _search(client, exhibition, job.model) for job in jobs}
        for model, answer in answers.items():
            _print_hits(model, answer, exhibition)
        _write_sheet(answers, exhibition)
        _say_what_was_measured(jobs, answers, exhibition)
        if not keep:
            click.echo("\nStopping ...")
    _say_what_next(exhibition, keep)


def _world_of_its_own() -> None:
    """A stack that runs already, and what it is set to, are neither used nor touched."""
    for name in [name for name in os.environ if name.startswith("IMAGEFLEET_")]:
        if name != "IMAGEFLEET_DEBUG":
            del os.environ[name]
    try:
        HOME.mkdir(exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"The folder {HOME.absolute()} cannot be made ({error.strerror}); work elsewhere.") from None
    os.environ["IMAGEFLEET_STATE_DIR"] = str(HOME.absolute() / "state")


def _samples(families: int) -> Exhibition:
    click.echo(f"Drawing {families * 6} sample pictures in {HOME / 'pictures'} ...")
    command = [sys.executable, "-m", "workers.local.samples", str(HOME), "--families", str(families)]
    drawn = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
    if drawn.returncode:
        raise CannotWrite((drawn.stderr.strip().splitlines() or ["The sample pictures cannot be drawn."])[-1])
    queries = [HOME / "queries" / f"family-{number:03}.jpg" for number in range(families)]
    return Exhibition(
        folder=(HOME / "pictures").resolve(),
        queries=queries,
        library="samples",
        is_right=lambda query, hit: Path(hit).parent.name == query.stem,
        right="a variant of the same motif",
    )


def _own(folder: Path) -> Exhibition:
    from producer.client import Client

    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise FolderMissing(f"There is no folder {folder}; name the folder of your pictures.")
    os.environ["IMAGEFLEET_IMAGE_ROOT"] = str(folder)
    found = [image.path for image in Client().walk([folder])]
    if not found:
        raise NothingFound(f"There are no pictures in {folder}; name another folder.")
    chosen = random.Random(0).sample(found, min(OWN_QUERIES, len(found)))  # noqa: S311 -- the same at each run
    return Exhibition(
        folder=folder,
        queries=[folder / path for path in sorted(chosen)],
        library=f"own-{blake2b(os.fsencode(folder), digest_size=4).hexdigest()}",
        is_right=lambda query, hit: folder / hit == query,
        right="itself",
    )


@contextmanager
def _stack(root: Path, keep: bool) -> Iterator[None]:
    from workers.local.stack import Options, start

    stack = start(Options(models=("colour", "gradient"), root=root, flower_port=0), say=click.echo)
    try:
        yield
    except BaseException:
        keep = False
        raise
    finally:
        if not keep:
            stack.stop()


def _index(client: Client, exhibition: Exhibition) -> Sequence[Job]:
    from producer.index_commands import follow

    click.echo(f"\nIndexing {exhibition.folder} with {' and '.join(client.settings.models)} ...")
    source = client.walk([exhibition.folder])
    jobs = follow(client, lambda started: client.feed(source, library=exhibition.library, started=started))
    states = [job.status() for job in jobs]
    if not any(state.indexed + state.unchanged for state in states):
        failure = next(iter(jobs[0].failures()), None)
        why = f", for example {failure.path}: {failure.reason}" if failure else "."
        raise NothingFound(f"None of the {states[0].queued} pictures could be indexed{why}")
    return jobs


def _search(client: Client, exhibition: Exhibition, model: str) -> SearchAnswer:
    from producer.sheet import THUMBNAIL

    click.echo(f"\nSearching {len(exhibition.queries)} pictures with {model} ...")
    return client.search(exhibition.queries, model=model, library=exhibition.library, limit=LIMIT, thumbnail=THUMBNAIL)


def _print_hits(model: str, answer: SearchAnswer, exhibition: Exhibition) -> None:
    from producer import report
    from producer.job_commands import show
    from producer.shown import shown

    for one in answer.answers[:PRINTED]:
        click.echo(f"\n{shown(one.query)} ({model})")
        show(report.hits_table(one.model_copy(update={"hits": one.hits[:5]}), exhibition.folder))


def _write_sheet(answers: dict[str, SearchAnswer], exhibition: Exhibition) -> None:
    from producer.sheet import write_sheet
    from workers.contract import SearchAnswer

    shown = chain.from_iterable(zip(*(answer.answers[:SHEET_QUERIES] for answer in answers.values()), strict=True))
    named = chain.from_iterable([answers] * SHEET_QUERIES)
    sections = [
        one.model_copy(update={"query": f"{Path(one.query).name}, by {model}"})
        for one, model in zip(shown, named, strict=False)
    ]
    both = SearchAnswer(model=" and ".join(answers), library=exhibition.library, answers=sections)
    write_sheet(both, exhibition.folder, HOME / "hits.html")


def _say_what_was_measured(jobs: Sequence[Job], answers: dict[str, SearchAnswer], exhibition: Exhibition) -> None:
    click.echo("\nMeasured on this machine:")
    for job in jobs:
        state, answer = job.status(), answers[job.model]
        seconds = (state.finished or state.now) - (state.started or state.created)
        speed = f"{state.indexed / seconds:,.0f} images/s" if state.indexed and seconds > 0 else "nothing to embed"
        first = _share(answer.answers, exhibition, 1)
        ten = _share(answer.answers, exhibition, LIMIT)
        click.echo(f"  {job.model}: {speed}, {state.unchanged} unchanged, {state.failed} failed")
        click.echo(f"    found {exhibition.right} first: {first}, among the first {LIMIT}: {ten}")


def _share(answers: Sequence[Answer], exhibition: Exhibition, limit: int) -> str:
    right = sum(
        any(exhibition.is_right(Path(answer.query), hit.path) for hit in answer.hits[:limit]) for answer in answers
    )
    return f"{right} of {len(answers)} ({right / len(answers):.0%})"


def _say_what_next(exhibition: Exhibition, keep: bool) -> None:
    click.echo(f"\nContact sheet: {(HOME / 'hits.html').absolute()}")
    if keep:
        command = _in_its_world(f"search {shlex.quote(str(exhibition.queries[0]))} --library {exhibition.library}")
        click.echo(f"Everything goes on running. Another search, and the end:\n  {command}\n  {_in_its_world('down')}")
        return
    click.echo("Next, with pictures of your own:")
    for words in ("up --detach", "index ~/Pictures", "search ~/Pictures/one.jpg --open"):
        click.echo(f"  {_program()} {words}")


def _in_its_world(words: str) -> str:
    """A command that talks to the stack of the demo, to be typed where the demo was started."""
    return f"IMAGEFLEET_STATE_DIR={shlex.quote(str(HOME.absolute() / 'state'))} {_program()} {words}"


def _program() -> str:
    """The command as one types it where the demo was started."""
    return "imagefleet" if sys.prefix == sys.base_prefix else f"{Path(sys.prefix).name}/bin/imagefleet"
