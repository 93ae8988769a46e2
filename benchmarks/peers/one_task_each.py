"""Celery as its first steps show it: a task for each picture, with an insert in each; the session is made once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any

from celery import Celery, group
from celery.signals import worker_process_init

from benchmarks.peers.task import Job, make_collection, preprocess, read, unit

JOB = "IMAGEFLEET_BENCH_PEER"
#: Seconds until the workers answer, and until all is done.
PATIENCE = 600.0

job = Job(**json.loads(os.environ[JOB])) if JOB in os.environ else None
app = Celery("benchmarks.peers.one_task_each", broker=job and job.redis, backend=job and job.redis)
held: dict[str, Any] = {}


@worker_process_init.connect  # type: ignore[untyped-decorator]
def load(**_: object) -> None:
    import onnxruntime
    from pymilvus import MilvusClient

    assert job is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    held["session"] = onnxruntime.InferenceSession(job.model, options, providers=["CPUExecutionProvider"])
    held["client"] = MilvusClient(job.milvus)


@app.task(name="benchmarks.embed")  # type: ignore[untyped-decorator]
def embed(picture: str) -> None:
    assert job is not None
    (vector,) = held["session"].run([job.output], {job.input: preprocess(picture)})
    held["client"].insert(job.collection, [{"id": picture, "vector": unit(vector)}])


def main() -> None:
    asked = read()
    make_collection(asked).close()
    environment = os.environ | {JOB: json.dumps({**asdict(asked), "pictures": []})}
    command = [sys.executable, "-m", "celery", "-A", "benchmarks.peers.one_task_each", "worker"]
    command += ["--concurrency", str(asked.cores), "--loglevel", "ERROR"]
    app.conf.update(broker_url=asked.redis, result_backend=asked.redis)
    with subprocess.Popen(command, env=environment, stdout=sys.stderr) as worker:
        try:
            _wait()
            embed.delay(asked.pictures[0]).get(timeout=PATIENCE)
            began = time.perf_counter()
            group(embed.s(picture) for picture in asked.pictures)().get(timeout=PATIENCE)
            print(time.perf_counter() - began)
        finally:
            worker.terminate()


def _wait() -> None:
    deadline = time.monotonic() + PATIENCE
    while not app.control.ping(timeout=0.5):
        if time.monotonic() > deadline:
            raise TimeoutError("The Celery worker did not answer.")


if __name__ == "__main__":
    # The worker knows this module by its name.
    from benchmarks.peers import one_task_each

    one_task_each.main()
