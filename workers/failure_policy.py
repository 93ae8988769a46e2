"""The failure classes and what is done about each: how often a file is read, and when it is tried again by itself.

What the file's bytes are to blame for is final: the file is tried again by itself only when its size or time, or a
limit on images, has changed. What its surroundings are to blame for (permissions, a link) may be mended without a trace
in the file and costs no decoding to find out again: every `index` tries again. What is wrong elsewhere fails no image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workers.contract import FailureKind


@dataclass(frozen=True, slots=True)
class Policy:
    """What is done about one class."""

    #: For those who meet it the first time.
    meaning: str
    #: Times that the file is read before it counts as failed; the later ones at the end of its batch.
    tries: int = 1
    #: Seconds before it is read again.
    pause: float = 0.0
    #: Whether an unchanged file counts as failed the next time without being read.
    final: bool = False
    #: Whether it is remembered beyond its job.
    remembered: bool = True


POLICIES: Mapping[FailureKind, Policy] = {
    "not_found": Policy("there is no such file any more", remembered=False),
    "no_access": Policy("no permission, or a disk that breaks off", tries=2),
    "changing": Policy("was written while it was read", tries=3, pause=0.5),
    "unreadable": Policy("damaged or cut short", final=True),
    "unsupported": Policy("no picture, or a format that is not on the list of formats", final=True),
    "too_large": Policy("more bytes or pixels than the limits allow", final=True),
    "refused": Policy("outside the image root, or no regular file"),
    # These two have been tried IMAGEFLEET_MAX_ATTEMPTS times, or for IMAGEFLEET_BATCH_SECONDS, before they are named.
    "timeout": Policy("took longer than a batch may take", final=True),
    "crashed": Policy("ended the process that read it, several times", final=True),
}
