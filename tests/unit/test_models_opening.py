"""Opening a picture: which plugins there are, what a header may state, and that decoders are heard by nobody."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from PIL import Image

from models.errors import ImageTooLarge, InvalidLimits
from models.opening import FORMATS, Limits, opened
from models.preprocess import prepare, thumbnail
from tests.specs import tiny_spec
from tests.unit.test_models_bounds import run, saved

# --- frames


@pytest.mark.parametrize("form", ["WEBP", "AVIF", "PNG", "MPO"])
def test_a_header_that_states_too_many_frames_is_refused(form: str) -> None:
    frames = [Image.new("RGB", (16, 16), (40 * number, 0, 0)) for number in range(4)]
    data = saved(frames[0], form, save_all=True, append_images=frames[1:])
    assert prepare(data, tiny_spec(), Limits(max_frames=4)).width == 16
    with pytest.raises(ImageTooLarge, match="holds 4 pictures and the limit is 3"):
        prepare(data, tiny_spec(), Limits(max_frames=3))


@pytest.mark.parametrize(("form", "count"), [("GIF", 20_000), ("TIFF", 5_000)])
def test_frames_after_the_first_are_not_walked_through(form: str, count: int) -> None:
    # Given a file whose later frames are rubbish
    frames = [Image.new("P", (9, 9), number) for number in (1, 2)]
    data = saved(frames[0], form, save_all=True, append_images=frames[1:]) + b"\x2c\xff" * count
    # When it is opened, then only as much of it was read as the first frame takes
    with opened(data, Limits()) as picture:
        picture.load()
        assert picture.tell() == 0
        if form == "GIF":
            assert picture._n_frames is None  # type: ignore[attr-defined]


# --- plugins


def test_a_fresh_process_loads_the_wanted_plugins_and_no_other() -> None:
    program = """
import io, sys
from PIL import Image
from models.opening import Limits
from models.preprocess import thumbnail
limits = Limits()
out = io.BytesIO()
Image.new("RGB", (9, 9)).save(out, "PNG")
thumbnail(out.getvalue(), 8, limits)
try:
    thumbnail(b"%!PS-Adobe-3.0 EPSF-3.0", 8, limits)
except Exception as error:
    print(type(error).__name__)
print(*sorted(Image.OPEN))
print([name for name in sys.modules if "Eps" in name])
"""
    said = run(program).stdout.splitlines()
    # DIB comes with BMP; MPO files are opened as JPEG
    expected = sorted({"DIB", "JPEG", *FORMATS} - {"MPO"})
    assert said == ["UnsupportedImage", " ".join(expected), "[]"]


def test_a_format_beside_the_usual_can_be_asked_for_and_one_that_runs_a_program_cannot() -> None:
    assert thumbnail(saved(Image.new("RGB", (9, 9)), "TGA"), 8, Limits(formats=("TGA",)))
    for name in ("EPS", "WMF", "PDF"):
        with pytest.raises(InvalidLimits, match=f"No format {name!r} is opened here; choose among AVIF, BMP"):
            Limits(formats=("PNG", name))


# --- silence


def test_silence_ends_with_the_last_of_several_threads() -> None:
    # Given two pictures that are open at once and end in the order in which they began
    data = saved(Image.new("RGB", (9, 9)), "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filters = list(warnings.filters)
        one, other = opened(data, Limits()), opened(data, Limits())
        one.__enter__()
        other.__enter__()
        one.__exit__(None, None, None)
        warnings.warn("of a decoder", stacklevel=1)  # raises if it is heard
        other.__exit__(None, None, None)
        # Then warnings are what they were
        assert warnings.filters == filters


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux says what a process has loaded")
def test_libtiff_does_not_write_into_the_log() -> None:
    # Given a TIFF whose compressed bytes are rubbish, which libtiff has a line to say of each
    noise = Image.effect_noise((64, 640), 100).convert("1")
    data = bytearray(saved(noise, "TIFF", compression="group4"))
    data[8:200] = b"\x55" * 192
    program = """
import sys
from models.errors import ImageError
from models.opening import Limits
from models.preprocess import thumbnail
try:
    thumbnail(bytes.fromhex(sys.argv[1]), 8, Limits())
except ImageError:
    pass
"""
    # When it is decoded, then nothing is written
    done = run(program, bytes(data).hex())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
