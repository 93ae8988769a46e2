"""The command `imagefleet`. What a user did wrong ends in one sentence and exit code 2, never in a traceback.

Commands are loaded when they are needed, and they load what they need: `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module, metadata

import click

from producer.errors import ClientError
from producer.places import nearest
from producer.shown import shown

#: Command -> module and name of the click command.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "up": ("producer.stack_commands", "up"),
    "down": ("producer.stack_commands", "down"),
    "demo": ("producer.demo", "demo"),
    "index": ("producer.index_commands", "index"),
    "status": ("producer.job_commands", "status"),
    "jobs": ("producer.job_commands", "jobs"),
    "failures": ("producer.job_commands", "failures"),
    "retry": ("producer.index_commands", "retry"),
    "cancel": ("producer.job_commands", "cancel"),
    "workers": ("producer.worker_commands", "workers"),
    "prune": ("producer.prune_command", "prune"),
    "audit": ("producer.audit_commands", "audit"),
    "why": ("producer.audit_commands", "why"),
    "search": ("producer.search_commands", "search"),
    "result": ("producer.search_commands", "result"),
    "models": ("producer.model_commands", "models"),
}

#: Exit codes.
DONE, BROKEN, WRONG, INTERRUPTED = 0, 1, 2, 130


class Commands(click.Group):
    """A group whose commands are imported one by one; one whose module is not installed is not there."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in COMMANDS if self.get_command(ctx, name) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module, name = COMMANDS.get(cmd_name, ("", ""))
        try:
            command = getattr(import_module(module), name, None) if module else None
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            return None
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            near = nearest(args[0], list(COMMANDS)) or "; `imagefleet --help` lists them."
            raise click.UsageError(f"There is no command {shown(args[0])}{near}")
        return super().resolve_command(ctx, args)


def _version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        try:
            click.echo(f"imagefleet {metadata.version('imagefleet')}")
        except metadata.PackageNotFoundError:
            click.echo("imagefleet (not installed)")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Say which.")
def imagefleet() -> None:
    """Search folders of pictures by similarity, on a laptop or on a fleet.

    Start with `imagefleet up`, then `imagefleet index DIR`, then `imagefleet search PICTURE`. Settings are variables
    that begin with IMAGEFLEET_.
    """


def main() -> None:
    """Entry point of the command."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(run(sys.argv[1:]))


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        returned = imagefleet.main(list(args), prog_name="imagefleet", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:
        if os.environ.get("IMAGEFLEET_DEBUG"):
            raise
        return _ended_by(error)
    return returned if isinstance(returned, int) else DONE


def _ended_by(error: BaseException) -> int:
    """Say what happened and return the exit code for it."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else BROKEN
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes
        return BROKEN
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return _interrupted(error)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return WRONG
    if isinstance(error, click.ClickException):
        return _say(_usage(error), WRONG)
    if isinstance(error, _user_errors()):
        return _say(str(error), WRONG)
    if isinstance(error, ModuleNotFoundError):
        return _say(f"{error.name} is not installed here; install imagefleet with its extra `cpu` or `gpu`.", WRONG)
    if isinstance(error, OSError):
        return _say(f"{error.strerror or error}{f': {shown(str(error.filename))}' if error.filename else ''}.", WRONG)
    return _say(
        f"This should not have happened: {type(error).__name__}: {shown(str(error))} (IMAGEFLEET_DEBUG=1 shows where).",
        BROKEN,
    )


def _user_errors() -> tuple[type[BaseException], ...]:
    """Loaded late: where one of them was raised, its module is there already."""
    from models.errors import ModelsError
    from workers.ledger import LedgerUnavailable
    from workers.settings import SettingsError

    return ClientError, ModelsError, LedgerUnavailable, SettingsError


def _interrupted(error: BaseException) -> int:
    by_key = isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__, KeyboardInterrupt)
    return INTERRUPTED if by_key else _say("Stopped; nothing was changed.", BROKEN)


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    text = error.format_message()
    see = f" See `{context.command_path} --help`." if context and context.parent else ""
    return f"{text if text.endswith(('.', '?')) else text + '.'}{see}"


def _say(sentence: str, code: int) -> int:
    click.echo(f"imagefleet: {sentence}", err=True)
    return code
