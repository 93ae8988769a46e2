"""The script of a busy afternoon: one session, a pool of threads, an insert for every hundred pictures."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import onnxruntime

from benchmarks.peers.task import make_collection, preprocess, read, unit

INSERT = 100


def main() -> None:
    job = read()
    client = make_collection(job)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(job.model, options, providers=["CPUExecutionProvider"])

    def embed(picture: str) -> dict[str, object]:
        (vector,) = session.run([job.output], {job.input: preprocess(picture)})
        return {"id": picture, "vector": unit(vector)}

    began = time.perf_counter()
    with ThreadPoolExecutor(job.cores) as pool:
        rows = []
        for row in pool.map(embed, job.pictures):
            rows.append(row)
            if len(rows) == INSERT:
                client.insert(job.collection, rows)
                rows = []
        if rows:
            client.insert(job.collection, rows)
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
