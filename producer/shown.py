"""Names made fit to be read: no control character, no half of a character, reaches a terminal or a page."""

from __future__ import annotations

from collections.abc import Mapping


def shown(text: str) -> str:
    """The text with everything escaped that a terminal would act on or cannot print (`\\x1b`, `\\xff`)."""
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def amounts(reasons: Mapping[str, int]) -> str:
    """`12 .txt, 3 hidden`, the greatest first."""
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number:,} {shown(reason)}" for reason, number in ordered)


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 image`, `2 images`, `1,000 images`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii") if code < 0xD800 or code > 0xDFFF else f"\\u{code:04x}"
