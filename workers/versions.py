"""Compare two models over the same library before one takes the place of the other; needs no picture, only rows."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import numpy as np

from workers.contract import SwitchAnswer
from workers.store import Collection, Match, Vector

#: Neighbours that are compared.
NEIGHBOURS = 10


def compare(current: Collection, new: Collection, sample: int) -> SwitchAnswer:
    """Rows of both, and for up to `sample` images that both know, the share of the 10 nearest that they agree on."""
    paths = _sampled(current, sample)
    pairs = [(path, current.vector(path), new.vector(path)) for path in paths]
    both = [(path, old, fresh) for path, old, fresh in pairs if old is not None and fresh is not None]
    return SwitchAnswer(
        current_rows=current.count(),
        new_rows=new.count(),
        sampled=len(paths),
        missing=len(paths) - len(both),
        overlap=_overlap(current, new, both) if both else None,
    )


def _sampled(collection: Collection, sample: int) -> list[str]:
    """Some paths from a random place on, since ids are hashes; from the beginning if there are too few behind it."""
    page = list(collection.scan("", uuid.uuid4().hex, sample))
    if len(page) < sample:
        page = list(collection.scan("", "", sample))
    return [known.path for _, known in page]


def _overlap(current: Collection, new: Collection, both: Sequence[tuple[str, Vector, Vector]]) -> float:
    olds = current.search(np.stack([old for _, old, _ in both]), NEIGHBOURS + 1)
    news = new.search(np.stack([fresh for _, _, fresh in both]), NEIGHBOURS + 1)
    shares = [_share(path, old, fresh) for (path, _, _), old, fresh in zip(both, olds, news, strict=True)]
    return float(np.mean(shares))


def _share(path: str, old: Sequence[Match], fresh: Sequence[Match]) -> float:
    """Of the neighbours of `path`, itself left out, those that both lists have."""
    first, second = ({match.path for match in matches if match.path != path} for matches in (old, fresh))
    return len(first & second) / max(1, min(NEIGHBOURS, len(first), len(second)))
