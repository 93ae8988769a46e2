"""The commands `up` and `down`: the stack of this machine."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click


@click.command()
@click.option("--workers", type=int, metavar="N", help="Index processes; by default one per usable core.")
@click.option("--model", "models", multiple=True, metavar="M", help="Serve this model; may be given several times.")
@click.option("--root", type=click.Path(path_type=Path), metavar="DIR", help="Image root: workers read only below it.")
@click.option("--flower-port", type=click.IntRange(0, 65535), metavar="P", help="Port of Flower; 0 picks a free one.")
@click.option("--detach", is_flag=True, help="Return when all answers; `imagefleet down` stops it.")
def up(workers: int | None, models: tuple[str, ...], root: Path | None, flower_port: int | None, detach: bool) -> None:
    """Start Redis, Milvus Lite, workers and Flower on this machine.

    What IMAGEFLEET_REDIS_URL or IMAGEFLEET_MILVUS_URI name elsewhere is used from there. The image root and the models
    of the last time are kept unless others are given. Ctrl-C stops everything.
    """
    from workers.local.stack import Options, StackError, start

    with ending_like_ctrl_c():
        try:
            stack = start(Options(workers, models or None, root, flower_port), say=click.echo)
            if detach:
                click.echo(f"Ready. Images lie below {stack.settings.image_root}. `imagefleet down` stops everything.")
                return
            _wait(stack)
        except StackError as error:
            end_with(error)
        except KeyboardInterrupt:
            click.echo("Stopped before it was ready.")
            sys.exit(130)


@click.command()
def down() -> None:
    """Stop what `imagefleet up` started; its data stay."""
    from workers.local.stack import StackError, stop

    try:
        click.echo("Stopped." if stop(say=click.echo) else "Nothing runs.")
    except StackError as error:
        end_with(error)


def _wait(stack: Any) -> None:
    try:  # from the first word on, since who reads it may press Ctrl-C at once
        click.echo(f"Ready. Images lie below {stack.settings.image_root}. Ctrl-C stops everything.")
        stack.wait()
        click.echo("Stopped by `imagefleet down`.")
    except KeyboardInterrupt:
        click.echo("\nStopping.")
        stack.stop(click.echo)
        click.echo("Stopped.")


@contextmanager
def ending_like_ctrl_c() -> Iterator[None]:
    """A closed terminal and a polite kill end the stack as Ctrl-C does."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_with(error: Any) -> NoReturn:
    click.echo(f"imagefleet: {error}", err=True)
    sys.exit(error.exit_code)
