"""Everything that can go wrong for somebody who asks; each text says what happened and what to do now."""

from __future__ import annotations


class ClientError(Exception):
    """Base of all errors of the producer."""


class BrokerUnavailable(ClientError):
    """Redis does not answer, refuses the password or takes nothing more."""


class NoAnswer(ClientError):
    """A request was sent and nothing came back in time; its text names the queue and who listens there."""


class RequestFailed(ClientError):
    """A worker took the request and could not carry it out."""


class NotFinished(ClientError):
    """A job was waited for and did not end in time; it goes on."""


class UnknownJob(ClientError):
    """No job of that id is remembered, or several begin like that."""


class UnknownModel(ClientError):
    """No specification of that name is in the catalogue, or one in the catalogue is wrong."""


class WrongValue(ClientError):
    """An argument is outside of what it may be."""


class FolderMissing(ClientError):
    """There is nothing at that path."""


class FolderUnreadable(ClientError):
    """The folder, the list or the picture is there and cannot be read."""


class OutsideImageRoot(ClientError):
    """Workers see only what lies below the image root."""


class NothingFound(ClientError):
    """The walk met no image; the text lists what was passed over."""


class PictureMissing(ClientError):
    """There is no file at the path of a query picture."""


class PictureTooLarge(ClientError):
    """A query picture has more bytes than may travel in a message."""


class CannotWrite(ClientError):
    """The file that was asked for cannot be written."""


#: What an error of Redis holds when its memory is used up.
FULL = "used memory > 'maxmemory'"


def is_full(error: BaseException) -> bool:
    """Whether Redis said that it takes nothing more."""
    return FULL in str(error)


def full() -> BrokerUnavailable:
    """The sentence for that."""
    return BrokerUnavailable(
        "Redis is full; let the workers empty it or raise its maxmemory, then run the same command again."
    )
