"""What `audit` and `why` print: lines for people, documents for other programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from producer.auditing import Audit
from producer.explaining import Explanation
from producer.shown import amounts, counted, shown
from workers.checks import Standing

#: The ways in which file, row and failure can differ, in the order in which they are told.
DIFFERENCES: Mapping[str, str] = {
    "missing": "a file without a row",
    "stale": "the file has changed since it was indexed",
    "orphaned": "a row without a file",
    "failed": "not tried again until the file changes",
}


def numbers(audit: Audit) -> dict[str, int]:
    """How many of each, in the order in which they are told."""
    files = {standing: audit.files[standing] for standing in get_args(Standing)}
    return {"indexed": files["indexed"]} | {
        name: audit.orphaned if name == "orphaned" else audit.files[name]  # type: ignore[index]
        for name in DIFFERENCES
    }


def audit_lines(audit: Audit, root: Path) -> Iterator[str]:
    """A line for each number, with examples below it, and what else is to be known."""
    where = shown(str(root / audit.folder))
    yield (
        f"{audit.model}: {counted(audit.files.total(), 'image')} below {where},"
        f" {counted(audit.rows, 'row')} in library {audit.library}"
    )
    found = numbers(audit)
    yield f"  {found.pop('indexed'):,} indexed as they are now"
    for name, number in found.items():
        if number:
            yield f"  {number:,} {name} ({DIFFERENCES[name]})"
            yield from (f"    {line}" for line in _examples(audit, name, root))
            if number > len(audit.examples[name]):
                yield f"    and {number - len(audit.examples[name]):,} more"
    if audit.skipped:
        yield f"  passed over: {amounts(audit.skipped)}"
    for job, images in audit.on_the_way.items():
        yield f"  {counted(images, 'image')} of job {job} {'is' if images == 1 else 'are'} on the way still"
    if audit.other_in_service:
        yield "  Searches are answered by another version of the model; see `imagefleet models switch`."


def what_next(audits: Sequence[Audit], folder: str) -> str | None:
    """What can be done about it, in one sentence."""
    does = ["queues what is missing or stale"] if any(audit.to_repair for audit in audits) else []
    does += ["removes rows without a file"] if any(audit.orphaned for audit in audits) else []
    return f"`imagefleet audit {shown(folder)} --repair` {' and '.join(does)}." if does else None


def audit_document(audit: Audit, root: Path) -> dict[str, Any]:
    """An audit as it is printed with --json."""
    return {
        "model": audit.model,
        "library": audit.library,
        "folder": str(root / audit.folder),
        "files": audit.files.total(),
        "rows": audit.rows,
        **numbers(audit),
        "clean": audit.clean,
        "examples": audit.examples,
        "failures": [failure.model_dump() for failure in audit.failures.values()],
        "skipped": dict(audit.skipped),
        "on_the_way": audit.on_the_way,
        "other_in_service": audit.other_in_service,
    }


def why_lines(found: Explanation, root: Path) -> Iterator[str]:
    yield f"{shown(str(root / found.path))} ({found.model}, library {found.library}): {found.verdict.replace('_', ' ')}"
    yield from (f"  {sentence}" for sentence in found.sentences)


def why_document(found: Explanation, root: Path) -> dict[str, Any]:
    """An explanation as it is printed with --json."""
    return {
        "path": found.path,
        "file": str(root / found.path),
        "model": found.model,
        "library": found.library,
        "verdict": found.verdict,
        "sentences": list(found.sentences),
        **{name: getattr(found, name) and getattr(found, name).model_dump() for name in ("row", "failure", "nearness")},
    }


def _examples(audit: Audit, name: str, root: Path) -> Iterator[str]:
    for path in audit.examples[name]:
        failure = audit.failures.get(path)
        reason = f": {failure.kind}: {shown(failure.reason)}" if failure else ""
        yield f"{shown(str(root / path))}{reason}"
