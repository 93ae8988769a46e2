"""The table: every fault that the system is held to, what is done, when, and how often."""

from __future__ import annotations

from tests.faults.cases import jobs, milvus, pictures, redis, workers

CASES = (*workers.CASES, *jobs.CASES, *redis.CASES, *milvus.CASES, *pictures.CASES)
