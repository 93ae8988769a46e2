"""Find, and on request remove, rows whose file is gone."""

from __future__ import annotations

from workers.contract import PruneAnswer, PruneRequest
from workers.image_root import ImageRoot
from workers.store import Collection

#: Paths shown of those that are gone.
EXAMPLES = 10


def prune(request: PruneRequest, *, collection: Collection, root: ImageRoot) -> PruneAnswer:
    """One page of rows. Refuses with a sentence where the folder itself is gone: then a disk is more likely away than
    every picture on it. Raises RootUnavailable."""
    root.check()
    if request.folder and root.is_gone(request.folder):
        return _refused(f"The folder {request.folder!r} is not there; if it was deleted, prune the folder above it.")
    page = collection.scan(request.folder, request.after, request.page)
    gone = [known.path for _, known in page if root.is_gone(known.path)]
    if request.delete and gone:
        collection.delete(gone)
    return PruneAnswer(
        looked_at=len(page),
        gone=len(gone),
        deleted=len(gone) if request.delete else 0,
        next=page[-1][0] if len(page) == request.page else None,
        examples=gone[:EXAMPLES],
    )


def _refused(sentence: str) -> PruneAnswer:
    return PruneAnswer(looked_at=0, gone=0, deleted=0, next=None, error=sentence)
