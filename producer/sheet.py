"""The contact sheet: one HTML file that needs nothing else, with each query and its hits as thumbnails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from pathlib import Path

from producer.errors import CannotWrite
from producer.shown import counted, shown
from workers.contract import Answer, Hit, SearchAnswer

#: Pixels of the longer side of a thumbnail.
THUMBNAIL = 256

_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #888; --accent: #3b82f6; }
* { box-sizing: border-box; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1400px; padding: 2rem 1.25rem; }
h1 { font-size: 1.4rem; margin: 0 0 .25rem; }
h2 { font-size: 1.05rem; margin: 0 0 .75rem; overflow-wrap: anywhere; }
p.about { color: var(--soft); margin: 0 0 2rem; }
section { border-top: 1px solid var(--line); padding: 1.25rem 0 1.5rem; }
ol { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); list-style: none;
  margin: 0; padding: 0; }
figure { margin: 0; }
.frame { align-items: center; aspect-ratio: 1; background: #8881; border-radius: 6px; display: flex;
  justify-content: center; overflow: hidden; }
.query .frame { outline: 3px solid var(--accent); outline-offset: -3px; }
.frame img { height: 100%; object-fit: contain; width: 100%; }
.frame span { color: var(--soft); padding: 1rem; text-align: center; }
figcaption { font-size: .8rem; margin-top: .35rem; overflow-wrap: anywhere; }
figcaption b { font-variant-numeric: tabular-nums; }
figcaption a { color: inherit; }
.error { color: #b91c1c; }
@media (prefers-color-scheme: dark) { .error { color: #f87171; } }
"""


def write_sheet(answer: SearchAnswer, root: Path, file: Path) -> None:
    """Write the sheet; raises CannotWrite. Whatever was in the file is replaced."""
    try:
        file.write_text(sheet(answer, root), encoding="utf-8")
    except OSError as error:
        raise cannot_write(file, error) from None


def must_be_writable(file: Path) -> None:
    """Find out before anything is searched whether the file can be written; raises CannotWrite."""
    try:
        with file.open("ab"):
            pass
    except OSError as error:
        raise cannot_write(file, error) from None


def cannot_write(file: Path, error: OSError) -> CannotWrite:
    return CannotWrite(f"{shown(str(file))} cannot be written ({error.strerror or error}); name another file.")


def sheet(answer: SearchAnswer, root: Path) -> str:
    """The whole page. `root`: where the image root is on this machine, for links."""
    return "".join(_page(answer, root))


def _page(answer: SearchAnswer, root: Path) -> Iterator[str]:
    queries = counted(len(answer.answers), "query", "queries")
    title = f"imagefleet: {queries}, model {answer.model}"
    yield f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{_safe(title)}</title>\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>Pictures that are alike</h1>\n"
    about = f"{queries} in library {answer.library}, model {answer.model}; the score is the similarity, 1 is equal."
    yield f'<p class="about">{_safe(about)}</p>\n'
    for one in answer.answers:
        yield from _section(one, root)
    yield "</body>\n</html>\n"


def _section(answer: Answer, root: Path) -> Iterator[str]:
    yield f"<section>\n<h2>{_safe(answer.query)}</h2>\n"
    if answer.error:
        yield f'<p class="error">{_safe(answer.error)}</p>\n'
    yield f'<ol>\n<li class="query">{_figure(answer.thumbnail, f"Query {answer.query}", "<b>query</b>")}</li>\n'
    yield from (f"<li>{_hit(hit, root)}</li>\n" for hit in answer.hits)
    yield "</ol>\n</section>\n"


def _hit(hit: Hit, root: Path) -> str:
    caption = f"<b>{hit.rank}. {hit.score:.4f}</b> {_link(root / hit.path, hit.path)}"
    return _figure(hit.thumbnail, f"Hit {hit.rank}: {hit.path}", caption)


def _figure(thumbnail: str | None, alt: str, caption: str) -> str:
    return f'<figure><div class="frame">{_picture(thumbnail, alt)}</div><figcaption>{caption}</figcaption></figure>'


def _picture(thumbnail: str | None, alt: str) -> str:
    """Only base64 goes into the page: the answer came over a network."""
    if thumbnail is None or not _BASE64.fullmatch(thumbnail):
        return f'<span role="img" aria-label="{_safe(alt)}">no preview</span>'
    return f'<img alt="{_safe(alt)}" loading="lazy" src="data:image/jpeg;base64,{thumbnail}">'


def _link(file: Path, path: str) -> str:
    try:
        return f'<a href="{escape(file.as_uri())}">{_safe(path)}</a>'
    except ValueError:
        return _safe(path)


def _safe(text: str) -> str:
    return escape(shown(text))
