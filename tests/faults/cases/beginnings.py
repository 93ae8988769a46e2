"""How most cases begin, and where a batch may be struck while it is worked on."""

from __future__ import annotations

from tests.faults import deeds as do
from tests.faults.case import Part

BEGIN = "workers.leases:Leases.begin"
READ = "workers.image_root:ImageRoot.read"
OPEN_FILE = "workers.image_root:ImageRoot._read"
DECODE = "models.encoder:Encoder.prepare"
PIXELS = "PIL.Image:open"
SESSION = "models.encoder:Encoder.encode"
RUN = "models.encoder:run"
UPSERT = "workers.milvus_collection:MilvusCollection.upsert"
COMMIT = "workers.leases:Leases.commit"
ASK = "workers.transport:Channel._brpop_start"

ONE_WORKER = (do.workers(), do.index)
TWO_WORKERS = (do.workers(2), do.index)
REDIS, MILVUS = frozenset[Part]({"redis"}), frozenset[Part]({"milvus"})
