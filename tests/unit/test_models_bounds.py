"""What one picture may take: seconds and memory; shown in processes of their own where the process ends of it."""

from __future__ import annotations

import io
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from models.bounds import Clock, Memory, address_space
from models.errors import ImageTooLarge
from models.opening import Limits
from models.preprocess import prepare
from tests.data import IMAGES, needs_shared_data
from tests.services import ROOT
from tests.specs import tiny_spec

#: Seconds until a process must have ended, on a busy machine; far more than those that its pictures may take.
END_SECONDS = 60.0
MIB = 2**20


def saved(picture: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=END_SECONDS, check=False)


# --- seconds

HANGING = """
import ctypes, io, sys, threading, time
from PIL import Image
from models import opening
from models.opening import Limits
from models.preprocess import thumbnail

WAYS = {
    "in Python": lambda: time.sleep(600),
    "in C, with Python's lock": lambda: ctypes.PyDLL(None).sleep(600),
    "in a thread": lambda: time.sleep(600),
}
def hang(*_):
    print("begun", flush=True)
    WAYS[sys.argv[1]]()
Image.register_open("HANGING", hang)
opening.PLUGINS = {"HANGING": ""}
limits = Limits(formats=("HANGING",), seconds=0.5)
decode = lambda: thumbnail(b"anything", 8, limits)
if sys.argv[1] == "in a thread":
    thread = threading.Thread(target=decode)
    thread.start()
    thread.join()
else:
    decode()
print("not reached")
"""


@pytest.mark.parametrize("way", ["in Python", "in C, with Python's lock", "in a thread"])
def test_a_decoder_that_hangs_ends_its_process_wherever_it_hangs(way: str) -> None:
    done = run(HANGING, way)
    assert (done.returncode, done.stdout) == (1, "begun\n")
    assert "in hang" in done.stderr, "where it hung is in the log"


def test_a_file_that_keeps_a_real_decoder_busy_ends_its_process() -> None:
    # Given a PPM with a comment of thirty megabytes, which Pillow reads byte by byte
    program = """
from models.opening import Limits
from models.preprocess import thumbnail
picture = b"9 9 255 " + bytes(243)
limits = Limits(seconds=0.3)
thumbnail(b"P6 " + picture, 8, limits)
print("begun", flush=True)
thumbnail(b"P6 #" + b"c" * 30_000_000 + b"\\n" + picture, 8, limits)
"""
    # When it is opened, then the process ends in time
    done = run(program)
    assert (done.returncode, done.stdout) == (1, "begun\n")
    assert "PpmImagePlugin" in done.stderr


def test_the_clock_stops_with_the_picture_and_starts_anew_with_each() -> None:
    program = """
import time
from models.bounds import CLOCK
for _ in range(4):
    with CLOCK.running(0.6):
        time.sleep(0.2)
time.sleep(1)
print("alive")
"""
    done = run(program)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


def test_the_clock_runs_for_the_picture_that_began_first() -> None:
    program = """
import threading, time
from models.bounds import CLOCK
def slow():
    with CLOCK.running(1.0):
        time.sleep(600)
threading.Thread(target=slow, daemon=True).start()
while True:
    with CLOCK.running(1.0):
        time.sleep(0.01)
"""
    assert run(program).returncode == 1


def test_no_seconds_are_no_limit() -> None:
    clock = Clock()
    with clock.running(0):
        assert clock._deadlines == {}


# --- memory

needs_bounds = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="only Linux says how large a process is"
)


# Grey, of 36 million pixels, which takes 144 MB more when it becomes RGB.
GREEDY = """
import io, resource
from PIL import Image
from models.errors import ImageTooLarge
from models.opening import Limits
from models.preprocess import prepare
from tests.specs import tiny_spec

out = io.BytesIO()
Image.new("L", (6000, 6000)).save(out, "PNG")
before = resource.getrlimit(resource.RLIMIT_AS)
try:
    prepare(out.getvalue(), tiny_spec(), Limits(memory=64 * 2**20))
except ImageTooLarge as error:
    print(error)
assert resource.getrlimit(resource.RLIMIT_AS) == before
print(prepare(out.getvalue(), tiny_spec(), Limits(memory=2**31)).width)
"""


@needs_bounds
def test_a_picture_that_wants_more_memory_is_too_large_and_the_next_one_is_not() -> None:
    # In a process of its own, since one that has run for long has memory to reuse, which no bound sees
    ended = run(GREEDY)
    assert ended.returncode == 0, ended.stderr
    refused, width = ended.stdout.splitlines()
    assert "does not fit into memory" in refused
    assert width == "6000"


def test_what_a_picture_takes_at_least_is_asked_for_before_it_is_decoded() -> None:
    data = saved(Image.new("RGB", (3000, 3000)), "PNG")
    with pytest.raises(ImageTooLarge, match=r"takes 36,000,000 bytes of memory and more, and the limit is 10,485,760"):
        prepare(data, tiny_spec(), Limits(memory=10 * MIB))


@needs_bounds
def test_pictures_in_several_threads_share_one_bound_that_ends_with_the_last() -> None:
    # Given two threads that decode at once
    memory, before = Memory(), resource.getrlimit(resource.RLIMIT_AS)
    inside, first_ended = threading.Barrier(3), threading.Event()

    def decode(last: bool) -> None:
        with memory.bound(512 * MIB):
            inside.wait(END_SECONDS)
            if last:
                first_ended.wait(END_SECONDS)

    threads = [threading.Thread(target=decode, args=(last,)) for last in (False, True)]
    for thread in threads:
        thread.start()
    inside.wait(END_SECONDS)
    threads[0].join()
    # When the first has ended, then the bound still holds
    bound = resource.getrlimit(resource.RLIMIT_AS)
    first_ended.set()
    threads[1].join()
    assert 512 * MIB < bound[0] < address_space() + 8192 * MIB
    # And with the last it is gone
    assert resource.getrlimit(resource.RLIMIT_AS) == before


@needs_bounds
def test_a_limit_that_the_process_has_already_is_not_raised() -> None:
    program = """
import resource
from models.bounds import MEMORY, address_space
own = address_space() + 2**28
resource.setrlimit(resource.RLIMIT_AS, (own, resource.RLIM_INFINITY))
with MEMORY.bound(2**40):
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == own
assert resource.getrlimit(resource.RLIMIT_AS)[0] == own
"""
    done = run(program)
    assert done.returncode == 0, done.stderr


@needs_shared_data
@needs_bounds
def test_a_bomb_is_refused_before_its_pixels_are_there() -> None:
    # Given 57 bytes that stand for 151 million pixels
    file = IMAGES / "odd-pillow" / "l2rgb_read.bmp"
    assert file.stat().st_size == 57
    # When they are decoded in a process of their own, without a bound of memory
    program = """
import resource, sys
from pathlib import Path
from models.errors import ImageTooLarge
from models.opening import Limits
from models.preprocess import thumbnail
data, limits = Path(sys.argv[1]).read_bytes(), Limits(memory=0)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
try:
    thumbnail(data, 96, limits)
except ImageTooLarge:
    print(peak() - before)
"""
    # Then nothing was taken for them: less than a hundredth of a byte a pixel
    done = run(program, str(file))
    assert int(done.stdout) < 1024, done.stderr
