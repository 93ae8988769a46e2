"""Whatever JSON arrives is a message of ours or is refused, and nothing else happens; every type of message."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from workers import checks, contract, transport
from workers.blob import BlobRefused, pack, unpack
from workers.contract import BATCH_MAX, LIMIT_MAX, PATH_MAX, QUERIES_MAX, TEXT_MAX, Image, Message

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.from_regex(contract.NAME_PATTERN, fullmatch=True).filter(lambda name: len(name) <= 64)
#: Names of files as Python has them, those that are no UTF-8 among them.
PATHS = st.binary(min_size=1, max_size=60).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
WORDS = st.text(min_size=1, max_size=40)
NUMBERS = st.integers(0, 2**62)
SCORES = st.floats(-1, 1)
KINDS = st.sampled_from(contract.FailureKind.__args__)  # type: ignore[attr-defined]
JOBS = st.from_regex(contract.JOB_PATTERN, fullmatch=True)
MAYBE = st.none() | WORDS

QUERY = st.one_of(
    st.fixed_dictionaries({"name": PATHS, "picture": st.binary(max_size=30).map(lambda raw: raw.hex())}),
    st.fixed_dictionaries({"name": PATHS, "like": PATHS}),
    st.fixed_dictionaries({"name": PATHS, "text": WORDS}),
)
FAILURE = st.fixed_dictionaries({"path": PATHS, "kind": KINDS, "reason": WORDS})
HIT = st.fixed_dictionaries({"path": PATHS, "score": SCORES, "rank": st.integers(1, 99), "thumbnail": MAYBE})
ANSWER = st.fixed_dictionaries({"query": PATHS, "hits": st.lists(HIT, max_size=2), "error": MAYBE})
ASKED = {"model": NAMES, "library": NAMES}
STORED = st.fixed_dictionaries({"size": NUMBERS, "mtime_ns": NUMBERS, "indexed_at": NUMBERS})
PAST = st.fixed_dictionaries({"kind": KINDS, "reason": WORDS, "job": JOBS, "when": NUMBERS, "same": st.booleans()})
NEAR = st.fixed_dictionaries(
    {"rank": st.none() | st.integers(1, 9), "score": SCORES, "last_score": SCORES, "hits": NUMBERS}
)
COLUMNS = st.lists(st.tuples(PATHS, NUMBERS, NUMBERS), max_size=3).map(
    lambda rows: {key: [row[at] for row in rows] for at, key in enumerate(("paths", "sizes", "mtimes"))}
)
MESSAGES: dict[type[Message], st.SearchStrategy[dict[str, Any]]] = {
    contract.BatchMessage: st.fixed_dictionaries(
        {"job": JOBS, "batch": st.integers(0, 2**32 - 1), "count": st.integers(1, BATCH_MAX)}
    ),
    contract.Failure: FAILURE,
    contract.Query: QUERY,
    contract.SearchRequest: st.fixed_dictionaries(
        {**ASKED, "limit": st.integers(1, LIMIT_MAX), "queries": st.lists(QUERY, min_size=1, max_size=2)}
    ),
    contract.Hit: HIT,
    contract.Answer: ANSWER,
    contract.SearchAnswer: st.fixed_dictionaries({**ASKED, "answers": st.lists(ANSWER, max_size=2)}),
    contract.PruneRequest: st.fixed_dictionaries({**ASKED, "folder": PATHS, "page": st.integers(1, 10_000)}),
    contract.PruneAnswer: st.fixed_dictionaries(
        {"looked_at": NUMBERS, "gone": NUMBERS, "deleted": NUMBERS, "next": MAYBE}
    ),
    contract.SwitchRequest: st.fixed_dictionaries(
        {**ASKED, "name": NAMES, "current": NAMES, "sample": st.integers(1, 200), "move": st.booleans()}
    ),
    contract.SwitchAnswer: st.fixed_dictionaries({"current_rows": NUMBERS, "overlap": st.none() | SCORES}),
    checks.CheckRequest: st.tuples(st.fixed_dictionaries(ASKED), COLUMNS).map(lambda both: both[0] | both[1]),
    checks.CheckAnswer: st.fixed_dictionaries({"failures": st.lists(FAILURE, max_size=2), "exists": st.booleans()}),
    checks.WhyRequest: st.fixed_dictionaries(
        {**ASKED, "path": PATHS, "size": NUMBERS, "mtime_ns": NUMBERS, "query": st.none() | QUERY}
    ),
    checks.StoredImage: STORED,
    checks.PastFailure: PAST,
    checks.Nearness: NEAR,
    checks.WhyAnswer: st.fixed_dictionaries({"row": STORED, "failure": PAST, "nearness": NEAR, "error": MAYBE}),
}
every_type = pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)


def test_no_type_of_message_is_left_out() -> None:
    assert set(MESSAGES) == set(Message.__subclasses__())


@every_type
@given(data=st.data())
def test_a_message_survives_the_wire(kind: type[Message], data: st.DataObject) -> None:
    message = kind.model_validate(data.draw(MESSAGES[kind]))
    assert kind.model_validate(json.loads(json.dumps(message.model_dump()))) == message


@every_type
@given(data=st.data())
def test_a_field_too_many_is_refused(kind: type[Message], data: st.DataObject) -> None:
    with pytest.raises(ValidationError):
        kind.model_validate({**data.draw(MESSAGES[kind]), "another": data.draw(JSON)})


@every_type
@given(data=st.data())
def test_whatever_stands_in_a_field_is_a_message_or_refused(kind: type[Message], data: st.DataObject) -> None:
    fields = data.draw(MESSAGES[kind])
    fields[data.draw(st.sampled_from(sorted(fields)))] = data.draw(JSON)
    for document in (fields, data.draw(JSON)):
        try:
            message = kind.model_validate(document)
        except ValidationError:
            continue
        json.dumps(message.model_dump())


@every_type
def test_wrong_types_are_not_made_right(kind: type[Message]) -> None:
    for name in kind.model_fields:
        with pytest.raises(ValidationError) as refused:
            kind.model_validate({name: {"neither": "text nor number"}})
        assert name in {error["loc"][0] for error in refused.value.errors() if error["loc"]}


ASK = {"model": "colour", "library": "images"}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        *(
            (contract.BatchMessage, {"job": "0" * 12, "batch": batch, "count": 1})
            for batch in (-1, 2**32, True, 1.0, "1")
        ),
        *((contract.BatchMessage, {"job": "0" * 12, "batch": 0, "count": count}) for count in (-1, 0, BATCH_MAX + 1)),
        *((contract.SearchRequest, ASK | {"limit": n, "queries": [{"name": "", "text": "x"}]}) for n in (0, -1, 10**9)),
        (contract.SearchRequest, ASK | {"limit": 1, "queries": [{"name": "", "text": "x"}] * (QUERIES_MAX + 1)}),
        (contract.SearchRequest, ASK | {"limit": 1, "queries": []}),
        (contract.Query, {"name": "", "text": "x" * (TEXT_MAX + 1)}),
        (contract.Query, {"name": "", "like": "x" * (PATH_MAX + 1)}),
        (contract.Query, {"name": "", "like": "\ud800"}),
        (contract.Query, {"name": "", "picture": "x" * (contract.PICTURE_MAX * 4 // 3 + 5)}),
        *((contract.PruneRequest, ASK | {"folder": "", "page": page}) for page in (-1, 0, 10**9)),
        (contract.PruneRequest, ASK | {"folder": "", "after": '" or id > "'}),
        *(
            (contract.PruneRequest, {"model": bad, "library": "a", "folder": ""})
            for bad in ('a" or 1', "A", "../a", "")
        ),
        *((contract.SwitchRequest, ASK | {"name": "a", "current": "b", "sample": n}) for n in (-1, 0, 10**9)),
        *((checks.CheckRequest, ASK | {"paths": ["a"], "sizes": [n], "mtimes": [0]}) for n in (-1, 2**63)),
        *((checks.WhyRequest, ASK | {"path": "a", "size": 0, "mtime_ns": n}) for n in (-(2**64), 2**63)),
        (checks.CheckRequest, ASK | {"paths": ["a"] * 1001, "sizes": [0] * 1001, "mtimes": [0] * 1001}),
    ],
)
def test_what_lies_beyond_a_limit_is_refused(kind: type[Message], fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind.model_validate(fields)


# --- lists of images

IMAGES = st.builds(Image, PATHS, NUMBERS, st.integers(-(2**63), 2**63 - 1))


@given(st.lists(IMAGES, min_size=1, max_size=20))
def test_a_list_of_images_survives_the_ledger(images: list[Image]) -> None:
    assert unpack(pack(images)) == images


@given(st.binary(max_size=200), JSON)
def test_whatever_lies_in_the_ledger_is_a_list_of_images_or_refused(raw: bytes, document: object) -> None:
    for blob in (raw, zlib.compress(raw), zlib.compress(json.dumps(document).encode())):
        with pytest.raises(BlobRefused):
            unpack(blob)


@pytest.mark.parametrize(
    "text",
    [b"[" * 100_000, b'{"paths":["\\ud800"],"sizes":[0],"mtimes":[0]}', b'{"paths":["a"],"sizes":[-1],"mtimes":[0]}'],
    ids=["deep", "no bytes", "negative"],
)
def test_a_list_that_would_raise_later_is_refused_at_once(text: bytes) -> None:
    with pytest.raises(BlobRefused):
        unpack(zlib.compress(text))


# --- envelopes


@given(JSON, st.dictionaries(st.sampled_from(["body", "headers", "properties", "content-type"]), JSON))
def test_whatever_lies_on_a_queue_is_an_envelope_or_refused(document: object, fields: dict[str, object]) -> None:
    for message in (document, fields):
        with pytest.raises(ValidationError):
            transport._Envelope.model_validate(message)
