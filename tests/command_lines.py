"""Checks a command line against the program that would get it, without running anything."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import click
from celery.bin.base import CLIContext
from celery.bin.celery import celery
from tornado.options import OptionParser

from producer.cli import imagefleet
from workers.app import make_app
from workers.settings import Settings


def check(command: Sequence[str]) -> dict[str, Any]:
    """The parameters of the command as its program understands them; fails if it does not."""
    program, *arguments = command
    return {"celery": _celery, "imagefleet": _imagefleet, "python": _python}[program](arguments)


def _python(arguments: list[str]) -> dict[str, Any]:
    dash, module, node = arguments
    assert (dash, module) == ("-m", "workers.nodes")
    return {"node": node}


def _celery(arguments: list[str]) -> dict[str, Any]:
    context = click.Context(celery, obj=CLIContext(app=make_app(Settings()), no_color=True, workdir=None))
    at = next((i for i, word in enumerate(arguments) if celery.get_command(context, word)), None)
    assert at is not None, f"celery has no such command: {arguments}"
    group, (name, *rest) = arguments[:at], arguments[at:]
    common, _, _ = celery.make_parser(context).parse_args(list(group))
    if name == "flower":
        return common | _flower(rest)
    command = celery.get_command(context, name)
    return common | command.make_context(name, rest, parent=context).params


def _flower(arguments: list[str]) -> dict[str, Any]:
    """Flower drops options that it does not know, so they are looked up among those that it defines."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from flower.options import options
    known: OptionParser = options
    given = dict(word.removeprefix("--").replace("-", "_", 1).split("=", 1) for word in arguments)
    unknown = [name for name in given if name not in known]
    assert not unknown, f"Flower has no such options: {unknown}"
    return given


def _imagefleet(arguments: list[str]) -> dict[str, Any]:
    context = click.Context(imagefleet, info_name="imagefleet")
    command: click.Command = imagefleet
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name, found, arguments = command.resolve_command(context, arguments)
        assert found is not None
        command, context = found, click.Context(found, parent=context, info_name=name)
    if "--help" in arguments:
        return {}
    return command.make_context(context.info_name, list(arguments), parent=context.parent).params
