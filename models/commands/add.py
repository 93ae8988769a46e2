"""`models add`: an ONNX file of one's own becomes a model."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from models import presets
from models.errors import InvalidSpec

if TYPE_CHECKING:
    from models.adding import Added, Words
    from models.candidates import Candidate
    from models.huggingface import Found
    from models.inspection import Look, Wishes
    from models.spec import PreprocessSpec

_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box")
#: Letters of a tensor's name in the table.
_SHOWN = 60


class Size(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """N, or HxW; gives (height, width)."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        found = re.fullmatch(r"(\d{1,4})(?:x(\d{1,4}))?", str(value))
        sides = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not all(1 <= side <= 4096 for side in sides):
            self.fail(f"{value} is neither N nor HxW pixels, of 1 to 4096.", param, ctx)
        return sides


@click.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE.onnx")
@click.option("--name", metavar="NAME", help="What to call the model.")
@click.option("--feature", metavar="TENSOR", help="The tensor that is the vector; inner ones too.")
@click.option("--pool", type=click.Choice(["max", "mean", "none"]), help="How a spatial map becomes a vector.")
@click.option("--preprocess", type=click.Choice(presets.NAMES), help="What the model was trained with.")
@click.option("--size", type=Size(), metavar="N|HxW", help="Pixels of the input, where the model takes any.")
@click.option("--layout", type=click.Choice(["NCHW", "NHWC"]), help="Of the input, where the model does not say it.")
@click.option("--resize", type=click.Choice(["shorter", "exact"]), help="Shorter side and crop, or stretch.")
@click.option("--resize-to", type=click.IntRange(1, 8192), metavar="N", help="Pixels before the centre is cut out.")
@click.option("--interpolation", type=click.Choice(_INTERPOLATIONS), help="How pictures are resized.")
@click.option("--title", metavar="TEXT", help="One line for people.")
@click.option("--licence", metavar="TEXT", help="Of the weights.")
@click.option("--source", metavar="TEXT", help="Where the file comes from.")
@click.option("--yes", is_flag=True, help="Take what is proposed; do not ask.")
@click.option("--replace", is_flag=True, help="In the place of another model of the same name.")
@click.option("--allow-custom-ops", is_flag=True, help="Let ONNX Runtime judge operators that are not part of ONNX.")
@click.option("--model-dir", type=click.Path(file_okay=False, path_type=Path), envvar="IMAGEFLEET_MODEL_DIR",
              metavar="DIR", help="Where models are kept.")  # fmt: skip
@click.pass_context
def add(
    context: click.Context,
    file: Path,
    name: str | None,
    feature: str | None,
    pool: str | None,
    preprocess: str | None,
    size: tuple[int, int] | None,
    layout: str | None,
    resize: str | None,
    resize_to: int | None,
    interpolation: str | None,
    title: str | None,
    licence: str | None,
    source: str | None,
    yes: bool,
    replace: bool,
    allow_custom_ops: bool,
    model_dir: Path | None,
) -> None:
    """Make a model of an ONNX file of one's own.

    Looks into the file, proposes what it takes and which tensor is the vector, tries it out and keeps a copy. A
    preprocessor_config.json of Hugging Face beside the file is read. Nothing in a file is ever run as a program.
    """
    from models import adding, huggingface
    from models.inspection import Wishes

    folder = model_dir or context.find_object(Path)
    if folder is None:
        raise click.UsageError("Say where models are kept: --model-dir DIR, or set IMAGEFLEET_MODEL_DIR.")
    name = _name(name or adding.proposed_name(file), named=name is not None)
    adding.refuse_shipped(name)
    found = None if preprocess else huggingface.beside(file)
    height, width = size or ((found.height, found.width) if found else (None, None))
    wishes = Wishes(height, width, layout, feature, pool, allow_custom_ops)  # type: ignore[arg-type]
    look = _looked(file, wishes, found)
    asks = not yes and sys.stdin.isatty()
    click.echo("\n".join(_seen(file, look, size, found)))
    chosen = _candidate(look, wishes, asks)
    rule, why = _rule(look, chosen, preprocess, found, asks)
    rule = _changed(rule, resize, resize_to, interpolation)
    if not asks and not yes and not (feature and (preprocess or found)):
        raise click.UsageError(
            f"Nobody is there to ask: add --yes to take the proposal, or --feature {quote(_shown(chosen.tensor))} and "
            f"--preprocess {why.partition(' ')[0] if not found else 'NAME'}, or others."
        )
    click.echo("\n".join(_choice(name, chosen, rule, why)))
    if asks and not click.confirm("Add it?", default=True):
        raise click.Abort
    words = _words(name, title, licence, source, file)
    added = adding.add(
        file,
        folder.expanduser().resolve(),
        words,
        look,
        chosen,
        rule,
        replace=replace,
        custom_operators=allow_custom_ops,
    )
    click.echo("\n".join(_next(added)))


def _name(name: str, *, named: bool) -> str:
    from pydantic import TypeAdapter, ValidationError

    from models.spec import Name

    try:
        return str(TypeAdapter(Name).validate_python(name))
    except ValidationError:
        what = f"--name {_shown(name)} does" if named else f"The file's name makes {_shown(name)!r}, which does"
        raise click.UsageError(
            f"{what} not do: use small letters, digits, dots and hyphens, 64 at most, as in --name my-model."
        ) from None


def _words(name: str, title: str | None, licence: str | None, source: str | None, file: Path) -> Words:
    from models.adding import Words

    given = (title or f"{name}, added from {file.name}", licence or "unknown", source or file.name)
    if any(len(text) > 500 or not text.isprintable() for text in given):
        raise click.UsageError("--title, --licence and --source are one line of text each, of 500 letters at most.")
    return Words(name, *given)


def _looked(file: Path, wishes: Wishes, found: Found | None) -> Look:
    from models.adding import looked

    try:
        return looked(file, wishes)
    except InvalidSpec as error:
        if found and "pixels" in str(error):
            raise InvalidSpec(
                f"{found.file} is for pictures of {found.height} x {found.width} pixels, but: {error} Give "
                "--preprocess, and the file is not read."
            ) from None
        raise


# --- choosing


def _candidate(look: Look, wishes: Wishes, asks: bool) -> Candidate:
    """The one that was asked for, or the proposal; with --pool the first map."""
    if wishes.feature:
        return look.candidates[0]
    usable = look.candidates
    if wishes.pool in ("max", "mean"):
        usable = [item.pooled(wishes.pool) for item in usable if item.is_map]
    elif wishes.pool == "none":
        usable = [item for item in usable if not item.is_map]
    if not usable:
        raise click.UsageError(f"No tensor is proposed that --pool {wishes.pool} fits; leave it out, or add --feature.")
    if not asks or len(usable) == 1:
        return usable[0]
    number = click.prompt("Which tensor is the vector?", type=click.IntRange(1, len(usable)), default=1)
    return usable[number - 1]


def _rule(
    look: Look, chosen: Candidate, preset: str | None, found: Found | None, asks: bool
) -> tuple[PreprocessSpec, str]:
    """The preprocessing, and where it is from."""
    if found is not None:
        return found.rule, f"as {found.file.name} says"
    guess = _guess(look, chosen)
    if preset is None and asks:
        preset = click.prompt("What was it trained with?", type=click.Choice(presets.NAMES), default=guess)
        why = preset
    elif preset is None:
        if guess is None:
            raise click.UsageError(
                "Nothing says how pictures are prepared for this model; add --preprocess, one of "
                f"{', '.join(presets.NAMES)}: models of Keras want keras-caffe or keras-tf."
            )
        preset, why = guess, f"{guess} (a guess: nothing beside the file says it; --preprocess changes it)"
    else:
        why = preset
    return presets.preset(preset, look.input.height, look.input.width), why


def _guess(look: Look, chosen: Candidate) -> str | None:
    """Models that take the channels last come from Keras or TensorFlow, which have more than one way."""
    if look.input.dtype == "uint8":
        return "pixels"
    if chosen.tensor == "image_embeds":
        return "clip"
    return "imagenet" if look.input.layout == "NCHW" else None


def _changed(
    rule: PreprocessSpec, resize: str | None, resize_to: int | None, interpolation: str | None
) -> PreprocessSpec:
    changes: dict[str, object] = {}
    if resize:
        changes |= {"resize": resize} | ({"resize_to": None, "longer": None} if resize == "exact" else {})
    if resize_to:
        changes["resize_to"] = resize_to
    if interpolation:
        changes["interpolation"] = interpolation
    return rule.model_copy(update=changes)


# --- showing


def _seen(file: Path, look: Look, size: tuple[int, int] | None, found: Found | None) -> Sequence[str]:
    taken = look.input
    batch = f"{taken.batch} at once" if taken.batch else "any number at once"
    lines = [
        f"{file.name} takes pictures of {taken.height} x {taken.width} pixels, {taken.dtype}, {taken.layout}, {batch}.",
    ]
    if not taken.fixed_size and size is None and found is None:
        lines.append(f"It takes any size; {taken.height} x {taken.width} is assumed, --size N changes it.")
    rows = [("", "tensor", "shape", "pool", "numbers", "")]
    rows += [
        (str(number), _shown(item.tensor), " x ".join(map(str, item.shape)), item.pool, str(item.dimension), item.what)
        for number, item in enumerate(look.candidates, 1)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return lines


def _choice(name: str, chosen: Candidate, rule: PreprocessSpec, why: str) -> Sequence[str]:
    pooled = f", {chosen.pool} over its places" if chosen.pool != "none" else ""
    size = f"shorter side to {rule.resize_to}, centre" if rule.resize == "shorter" else "stretched"
    return [
        f"Vector: {_shown(chosen.tensor)}{pooled}, {chosen.dimension} numbers.",
        f"Pictures: {why}; {size}, {rule.interpolation}, {rule.channels}.",
        f"Trying out {name}.",
    ]


def _next(added: Added) -> Sequence[str]:
    spec = added.spec
    if added.seconds is None:
        return [f"{spec.name} is here already, and is the same; nothing was changed."]
    old = [f"It is in the place of another {spec.name}: restart its workers and index again."] * added.replaced
    return [
        f"Pictures go through: {added.seconds:.3f} s for one on one core.",
        f"Wrote {added.file}; the fingerprint is {spec.fingerprint}.",
        *old,
        f"Serve it: imagefleet up --model {spec.name}",
        f"or: celery -A workers.app worker -Q index.{spec.name},search.{spec.name}",
        f"Use it: imagefleet index DIR --model {spec.name}",
    ]


def _shown(text: str) -> str:
    plain = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
    return plain if len(plain) <= _SHOWN else f"{plain[: _SHOWN - 3]}..."
