"""Work on files from anywhere, in a process of its own that may take so much memory and time and no more.

    python -P -m models.confined MODULE:FUNCTION

reads one JSON value, gives it to the function and writes what it returns. Parsers and runtimes are large programs in
C++: what ends one of them is one sentence here.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from models.errors import InvalidSpec, ModelsError

#: Bytes of address space for the libraries, and for each byte of the model's files.
MEMORY: Final = 3 * 2**30
MEMORY_PER_BYTE: Final = 8
#: Seconds.
TIME: Final = 300.0
#: How a process ends that has computed for too long; Windows knows no such signal.
_OUT_OF_TIME: Final = getattr(signal, "SIGXCPU", 24)


def call(function: str, argument: Any, *, size: int, seconds: float = TIME) -> Any:
    """What `function`, as module:name, returns for `argument`, both JSON; `size` is the bytes of the model's files.

    Raises InvalidSpec, with the sentence of the ModelsError raised there, or one that says how the process ended.
    """
    command = [sys.executable, "-P", "-m", __name__, function, str(MEMORY + MEMORY_PER_BYTE * size), str(seconds)]
    try:
        done = subprocess.run(
            command, input=json.dumps(argument).encode(), capture_output=True, env=_environment(), timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise _too_slow(seconds) from None
    if done.returncode == -_OUT_OF_TIME:
        raise _too_slow(seconds)
    if done.returncode != 0:
        raise InvalidSpec(_ended(done.returncode, done.stderr.decode("utf-8", "replace")))
    answer = json.loads(done.stdout)
    if "refused" in answer:
        raise InvalidSpec(_printable(answer["refused"]))
    return answer["result"]


def _too_slow(seconds: float) -> InvalidSpec:
    return InvalidSpec(f"The model was not done within {seconds:.0f} seconds; use a smaller one.")


def _environment() -> dict[str, str]:
    """Ours, with the folder that this package was loaded from first: never the folder that the user is in."""
    paths = [str(Path(__file__).parents[1]), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def _printable(text: str) -> str:
    """On one line and without what moves a terminal's cursor: there are names from the file in it."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def _ended(code: int, said: str) -> str:
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"The model ended the program that looked into it ({name}); get another file."
    last = (said.strip().splitlines() or ["without a word"])[-1][:200]
    return _printable(f"The model could not be looked into ({last}); get another file.")


# --- in the process of its own


def main(function: str, memory: int, seconds: float) -> None:
    """Answer on standard output, which nothing else is let at."""
    answer_to = os.dup(1)
    os.dup2(2, 1)
    _limit(memory, seconds)
    module, _, name = function.partition(":")
    try:
        answer = {"result": getattr(import_module(module), name)(json.load(sys.stdin))}
    except ModelsError as error:
        answer = {"refused": str(error)}
    except (MemoryError, RecursionError):
        answer = {"refused": "The model takes more memory than a model of its size should; get another file."}
    with os.fdopen(answer_to, "w", encoding="utf-8") as out:
        json.dump(answer, out)


def _limit(memory: int, seconds: float) -> None:
    """No more than `memory` bytes and `seconds` of computing, no file written, no image of the memory left behind."""
    try:
        import resource
    except ImportError:  # Windows has none
        return
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: int(seconds) + 1,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for what, most in limits.items():
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
