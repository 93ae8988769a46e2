"""`models pull`: the files of catalogued models, into the model folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from models.errors import ModelsError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from models.download import Pulled
    from models.spec import ModelSpec

#: Exit code where a file could not be had.
_WRONG = 2


@click.command()
@click.argument("names", metavar="M...", nargs=-1, required=True)
@click.option("--url", metavar="URL", help="Download the ONNX file from there; its checksum stays.")
@click.option("--mirror", metavar="URL", envvar="IMAGEFLEET_MODEL_MIRROR", help="A copy of the models' home.")
@click.option("--model-dir", type=click.Path(file_okay=False, path_type=Path), envvar="IMAGEFLEET_MODEL_DIR",
              metavar="DIR", help="Where models are kept.")  # fmt: skip
@click.pass_context
def pull(
    context: click.Context, names: tuple[str, ...], url: str | None, mirror: str | None, model_dir: Path | None
) -> None:
    """Download models of the catalogue, check them, and keep them.

    What is here and right is not downloaded again. A download that broke off goes on where it ended.
    """
    folder = model_dir or context.find_object(Path)
    if folder is None:
        raise click.UsageError("Say where models are kept: --model-dir DIR, or set IMAGEFLEET_MODEL_DIR.")
    if url and len(names) > 1:
        raise click.UsageError("--url is the address of one model; name one.")
    failed = False
    for name in dict.fromkeys(names):
        try:
            _pull(name, folder.expanduser().resolve(), url or "", mirror or "")
        except ModelsError as error:
            click.echo(f"imagefleet: {name}: {error}", err=True)
            failed = True
    if failed:
        context.exit(_WRONG)


def _pull(name: str, folder: Path, url: str, mirror: str) -> None:
    from models import download
    from models.spec import find

    spec = find(name, folder)
    if spec.builtin:
        click.echo(f"{name} is part of imagefleet; there is nothing to pull.")
        return
    try:
        with _bar() as bar:
            pulled = download.pull(spec, folder, _Shown(bar), mirror=mirror, url=url)
    except KeyboardInterrupt:
        click.echo(f"{name}: stopped; what came is kept, and the next pull goes on from there.", err=True)
        raise
    _tell(spec, pulled)


def _tell(spec: ModelSpec, pulled: list[Pulled]) -> None:
    if not any(file.is_new for file in pulled):
        click.echo(f"{spec.name} is here already, checked: {', '.join(str(file.path) for file in pulled)}")
        return
    for file in pulled:
        click.echo(f"{file.path}: {file.bytes:,} bytes, checked")
    click.echo(f"Use it: imagefleet index DIR --model {spec.name}")


def _bar() -> Progress:
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


class _Shown:
    """A bar for each file. See models.transfer.Watch."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._tasks: dict[str, TaskID] = {}
        self._task: Any = None

    def begin(self, file: str, done: int, total: int | None) -> None:
        if file not in self._tasks:
            self._tasks[file] = self._bar.add_task(file, total=total)
        self._task = self._tasks[file]
        self._bar.update(self._task, completed=done, total=total)

    def advance(self, count: int) -> None:
        self._bar.advance(self._task, count)

    def say(self, sentence: str) -> None:
        self._bar.console.print(sentence, markup=False, highlight=False, soft_wrap=True)
