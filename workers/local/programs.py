"""The programs of the stack: command lines as Celery users expect them, and the order in which they end.

No command line carries a secret, since every user of the machine can read it; the environment and files of mode 600 do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import workers
from workers.contract import index_queue, search_queue
from workers.local import redis_server
from workers.local.folder import StateFolder
from workers.local.plan import Plan
from workers.local.ports import LOOPBACK

#: Marks every process of a stack, so that those left by a crash can be told from all others.
MARK = "IMAGEFLEET_STACK_OF"
#: Tasks that Flower keeps in memory; its own default of 100,000 takes hundreds of megabytes.
FLOWER_TASKS = 10_000
#: Columns of its task page: what a batch is and what became of it, instead of its random id.
FLOWER_COLUMNS = "name,kwargs,state,result,received,runtime,worker"
#: Seconds beyond the hard limit of a batch after which a worker that should end is killed.
STOP_MARGIN = 15
#: Variables by which Celery or Flower would be led elsewhere than to this stack.
_FOREIGN = ("CELERY_", "FLOWER_")
_FOREIGN_EXACT = {"APP", "BROKER_URL", "RESULT_BACKEND", "LOADER", "CONFIG_MODULE", "SKIP_CHECKS"}

# `-P`: what lies in the working folder is never imported.
_PYTHON = (sys.executable, "-P", "-m")


@dataclass(frozen=True, slots=True)
class Program:
    """One child of Supervisor."""

    name: str
    command: tuple[str, ...]
    #: The highest ends first; equal ones end together.
    priority: int
    #: Seconds; a death before that counts as a failed start.
    start_seconds: int
    #: Seconds that it may take to end before it is killed.
    stop_seconds: int


def all_of(plan: Plan, folder: StateFolder) -> list[Program]:
    """The programs in the order in which they start; writes the configuration files that they read."""
    programs = []
    if plan.own_redis:
        file = redis_server.write_configuration(folder, plan.ports["redis"])
        programs.append(Program("redis", (str(redis_server.find_program()), str(file)), 10, 5, 60))
    if plan.own_milvus:
        programs.append(_milvus(plan, folder))
    programs += [_worker(plan, "index", plan.workers), _worker(plan, "search", 1), _flower(plan, folder)]
    return programs


def environment(plan: Plan, folder: StateFolder) -> dict[str, str]:
    """What every program sees: the user's variables, less foreign ones, and this stack's addresses."""
    inherited = {name: value for name, value in os.environ.items() if not _is_foreign(name)}
    settings = plan.settings
    url = settings.redis_url.get_secret_value()
    return inherited | {
        MARK: str(folder.root),
        "IMAGEFLEET_STATE_DIR": str(folder.root),
        "IMAGEFLEET_REDIS_URL": url,
        "IMAGEFLEET_MILVUS_URI": settings.milvus_uri,
        "IMAGEFLEET_IMAGE_ROOT": str(settings.image_root),
        "IMAGEFLEET_REMOTE_CONTROL": str(settings.remote_control).lower(),
        "IMAGEFLEET_MODELS": ",".join(settings.models),
        "CELERY_BROKER_URL": url,  # Flower runs without the app, which would import the tasks
        "PYTHONPATH": os.pathsep.join(filter(None, (_home(), inherited.get("PYTHONPATH")))),
        "PYTHONUNBUFFERED": "1",
        # glibc gives each thread a heap of its own; Milvus Lite's many threads took half as much again (measured).
        "MALLOC_ARENA_MAX": inherited.get("MALLOC_ARENA_MAX", "2"),
    }


def stop_deadline(programs: Mapping[str, int]) -> float:
    """Seconds after which all of these stop times have passed, one after the other."""
    return float(sum(programs.values()) + STOP_MARGIN)


def _is_foreign(name: str) -> bool:
    return name.startswith(_FOREIGN) or name in _FOREIGN_EXACT


def _home() -> str:
    return str(Path(workers.__file__).parent.parent)


def _milvus(plan: Plan, folder: StateFolder) -> Program:
    where = ("--data-dir", str(folder.milvus), "--host", LOOPBACK, "--port", str(plan.ports["milvus"]))
    return Program("milvus", (*_PYTHON, "workers.local.milvus_lite", *where), 20, 5, 60)


def _worker(plan: Plan, kind: str, processes: int) -> Program:
    queue = {"index": index_queue, "search": search_queue}[kind]
    queues = ",".join(queue(model) for model in plan.settings.models)
    # One node learns nothing from the other, so neither asks at its start nor listens.
    quiet = ("--without-gossip", "--without-mingle", "--loglevel", "INFO")
    command = (*_PYTHON, "celery", "-A", "workers.app", "worker", "-Q", queues, "-c", str(processes))
    return Program(kind, (*command, "-n", f"{kind}@%h", *quiet), 30, 15, plan.settings.hard_limit + STOP_MARGIN)


def _flower(plan: Plan, folder: StateFolder) -> Program:
    settings = plan.settings
    secret = settings.flower_auth.get_secret_value()
    access = f"basic_auth = {[secret]!r}\n" if secret else ""
    configuration = folder.write("run/flower.py", "from workers.local.flower_conf import *\n" + access)
    options = (
        f"--address={settings.flower_address}",
        f"--port={settings.flower_port}",
        f"--max_tasks={FLOWER_TASKS}",
        f"--tasks_columns={FLOWER_COLUMNS}",
        f"--conf={configuration}",
    )
    return Program("flower", (*_PYTHON, "celery", "flower", *options), 40, 5, 10)
