"""What can go wrong with the local stack; each text is one sentence or two: what happened and what to do now."""

from __future__ import annotations

from typing import ClassVar


class StackError(Exception):
    """Base of all errors of this package."""

    #: What the command gives back to the shell.
    exit_code: ClassVar[int] = 2


class CannotStart(StackError):
    """Something that was asked for is not to be had here; nothing was started."""


class AlreadyRuns(StackError):
    """The stack of this state folder is up, or is being started this moment."""


class StackFailed(StackError):
    """The stack was started and did not hold; everything is stopped. The text ends with the last lines of the log."""

    exit_code = 1
