"""As a first tutorial does it: for each picture a session, and an insert."""

from __future__ import annotations

import time

import onnxruntime

from benchmarks.peers.task import make_collection, preprocess, read, unit


def main() -> None:
    job = read()
    client = make_collection(job)
    began = time.perf_counter()
    for picture in job.pictures:
        session = onnxruntime.InferenceSession(job.model, providers=["CPUExecutionProvider"])
        (vector,) = session.run([job.output], {job.input: preprocess(picture)})
        client.insert(job.collection, [{"id": picture, "vector": unit(vector)}])
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
