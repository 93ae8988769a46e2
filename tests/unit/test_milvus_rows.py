"""Names, paths and filters as they are written for Milvus."""

from __future__ import annotations

import json
import os
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.specs import tiny_spec
from workers import milvus_rows
from workers.store import Row, StoreRejected

FILE_NAMES = st.binary(min_size=1, max_size=80).map(os.fsdecode)
TEXTS = FILE_NAMES | st.text(st.sampled_from("ab/\\x0a_%\n\"'é\udcff"), min_size=1, max_size=12)


@given(TEXTS)
def test_a_path_survives_its_escape(path: str) -> None:
    stored = milvus_rows.stored_path(path)

    assert milvus_rows.original_path(stored) == path
    stored.encode("utf-8")  # any store takes it
    assert not re.search(r"[\x00-\x1f\x7f]", stored)
    assert len(stored.encode("utf-8")) <= 4 * len(os.fsencode(path))


@given(TEXTS, TEXTS)
def test_the_range_of_a_folder_holds_what_lies_in_it_and_nothing_else(folder: str, path: str) -> None:
    folder = folder.strip("/") or "a"
    start, end = re.findall(r'"(?:[^"\\]|\\.)*"', milvus_rows.below(folder, ""))[1:]
    for candidate in (path, f"{folder}/{path}", f"{folder}{path}"):
        stored = milvus_rows.stored_path(candidate).encode()
        inside = json.loads(start).encode() <= stored < json.loads(end).encode()  # as stores compare: by bytes
        assert inside == candidate.startswith(f"{folder}/")


@given(TEXTS)
def test_a_literal_is_read_back_as_it_was(text: str) -> None:
    stored = milvus_rows.stored_path(text)

    assert json.loads(milvus_rows.literal(stored)) == stored
    assert "\\u" not in milvus_rows.literal(stored).replace("\\\\", "")  # Milvus Lite does not read these


def test_names_are_what_milvus_takes_and_tell_all_libraries_apart() -> None:
    libraries = ["a", "a-b", "a.b", "a-2db", "2024", "x32024", "a-b.c", "0"]
    models = ["colour", "colour-2", "colour.2", "7b"]

    names = [milvus_rows.collection_name(library, tiny_spec(model)) for library in libraries for model in models]

    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z_][a-z0-9_]*", name) for name in names)
    assert names[0] == f"a__colour__{tiny_spec('colour').fingerprint}"


def test_an_alias_is_never_the_name_of_a_collection() -> None:
    names = ["a", "a-b", "2", "a.b"]
    aliases = {milvus_rows.alias_name(library, model) for library in names for model in names}
    collections = {milvus_rows.collection_name(library, tiny_spec(model)) for library in names for model in names}

    assert not aliases & collections


def test_names_too_long_for_milvus_are_refused() -> None:
    long = "-".join("a" * 32)

    with pytest.raises(StoreRejected, match="choose a shorter one"):
        milvus_rows.collection_name(long, tiny_spec(long))


def test_requests_are_bounded_in_bytes_and_hold_every_row_in_order() -> None:
    vector = np.zeros(16_384, np.float32)
    vector[0] = 1
    rows = [Row(f"{number}", 1, 2, "c", 3, 4, 5, vector) for number in range(700)]

    requests = list(milvus_rows.requests(rows))

    assert [entity["path"] for request in requests for entity in request] == [row.path for row in rows]
    assert max(len(request) for request in requests) * vector.nbytes <= milvus_rows.REQUEST_MAX
    assert len(requests) == 3


def test_one_row_larger_than_a_request_is_sent_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milvus_rows, "REQUEST_MAX", 10)
    rows = [Row(f"{number}", 1, 2, "c", 3, 4, 5, np.ones(1, np.float32)) for number in range(2)]

    assert [len(request) for request in milvus_rows.requests(rows)] == [1, 1]
