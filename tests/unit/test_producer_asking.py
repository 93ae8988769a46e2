"""Requests and their answers, with a broker that answers from a list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from producer import asking
from producer.asking import Asker, joined, parts, picture_query, total
from producer.errors import NoAnswer, PictureMissing, PictureTooLarge, RequestFailed
from workers.contract import PICTURE_MAX, Answer, PruneAnswer, PruneRequest, Query, SearchAnswer, SearchRequest

FOUND = {"model": "colour", "library": "images", "answers": [{"query": "a.jpg", "hits": []}]}
REQUEST = SearchRequest(model="colour", library="images", limit=3, queries=[Query.of_picture("a.jpg", b"pixels")])


class Broker:
    """Answers in turn what it was given; None is no answer yet."""

    def __init__(self, *answers: dict[str, Any] | None, listening: int = 1) -> None:
        self.answers = list(answers)
        self.listening = listening
        self.sent: list[tuple[str, str, dict[str, Any], str]] = []
        self.forgotten: list[str] = []

    def send_request(self, task: str, queue: str, request: dict[str, Any], said: str) -> str:
        self.sent.append((task, queue, request, said))
        return f"id-{len(self.sent)}"

    def answer(self, task: str, seconds: float) -> dict[str, Any] | None:
        return self.answers.pop(0) if self.answers else None

    def forget(self, task: str) -> None:
        self.forgotten.append(task)

    def listeners(self, queue: str) -> int:
        return self.listening


class Queues:
    """A ledger as far as it knows how long queues are."""

    def queue_length(self, queue: str) -> int:
        return 7


def asker(broker: Broker) -> Asker:
    return Asker(broker, Queues())  # type: ignore[arg-type]


def test_a_search_goes_to_the_search_queue_of_its_model_and_hides_the_picture_from_flower() -> None:
    broker = Broker()

    asker(broker).send_search(REQUEST)

    ((task, queue, request, said),) = broker.sent
    assert (task, queue) == ("imagefleet.search", "search.colour")
    assert SearchRequest.model_validate(request) == REQUEST
    assert said == "1 query, 3 hits, library images"


def test_an_answer_is_read() -> None:
    answer = asker(Broker(FOUND)).search_answer("id", "colour", 60)

    assert answer.answers == [Answer(query="a.jpg")]


def test_an_answer_that_is_late_is_waited_for() -> None:
    assert asker(Broker(None, FOUND)).search_answer("id", "colour", 60).model == "colour"


def test_nobody_listening_is_told_before_the_time_is_up() -> None:
    with pytest.raises(NoAnswer, match=r"No worker listens on the queue search.colour; .*imagefleet result id"):
        asker(Broker(None, FOUND, listening=0)).search_answer("id", "colour", 60)


def test_busy_workers_are_told_from_absent_ones() -> None:
    with pytest.raises(NoAnswer, match=r"gave no answer within 60 s \(7 requests wait\).*`imagefleet result id`"):
        asker(Broker(None, None)).search_answer("id", "colour", 60)


def test_an_id_without_an_answer_may_be_old_or_mistyped() -> None:
    with pytest.raises(NoAnswer, match="mistyped"):
        asker(Broker()).search_answer("id", None, 1)


@pytest.mark.parametrize("strange", [{"error": "A message was refused."}, {"looked_at": 1}, {}])
def test_what_is_no_answer_is_an_error(strange: dict[str, Any]) -> None:
    with pytest.raises(RequestFailed):
        asker(Broker(strange)).search_answer("id", "colour", 60)


def page(**fields: Any) -> dict[str, Any]:
    return {"looked_at": 10, "gone": 2, "deleted": 0, "next": None, "examples": ["a", "b"]} | fields


def test_a_prune_asks_page_after_page_and_sums_up() -> None:
    broker = Broker(page(next="a" * 32), page(next="b" * 32), page(gone=1, examples=["c"]))
    request = PruneRequest(model="colour", library="images", folder="pics")

    found = total(asker(broker).prune_pages(request, 60))

    assert [sent[2]["after"] for sent in broker.sent] == ["", "a" * 32, "b" * 32]
    assert found == PruneAnswer(looked_at=30, gone=5, deleted=0, next=None, examples=["a", "b", "a", "b", "c"])
    assert len(broker.forgotten) == 3


def test_a_prune_that_the_worker_could_not_carry_out_is_an_error() -> None:
    request = PruneRequest(model="colour", library="images", folder="pics")

    with pytest.raises(RequestFailed, match="Milvus does not answer"):
        total(asker(Broker(page(error="Milvus does not answer."))).prune_pages(request, 60))


def test_queries_are_cut_into_messages_by_number_and_by_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MESSAGE_MAX", 100)
    light = [Query(name=str(number), like="a") for number in range(130)]
    heavy = [Query.of_picture(str(number), b"x" * 45) for number in range(3)]

    assert [len(part) for part in parts(light)] == [64, 64, 2]
    assert [len(part) for part in parts(heavy)] == [1, 1, 1]
    assert [query for part in parts(light + heavy) for query in part] == light + heavy


def test_parts_of_an_answer_are_joined_in_order() -> None:
    one = SearchAnswer(model="m", library="l", answers=[Answer(query="1")])
    two = SearchAnswer(model="m", library="l", answers=[Answer(query="2"), Answer(query="3")])

    assert [answer.query for answer in joined([one, two]).answers] == ["1", "2", "3"]


def test_a_picture_is_read_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "p.jpg").write_bytes(b"pixels")

    assert picture_query(tmp_path / "p.jpg") == Query.of_picture(str(tmp_path / "p.jpg"), b"pixels")


def test_a_picture_that_is_missing_or_too_large_is_an_error(tmp_path: Path) -> None:
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(PICTURE_MAX + 1)

    with pytest.raises(PictureMissing, match=r"did you mean large.jpg\?"):
        picture_query(tmp_path / "larger.jpg")
    with pytest.raises(PictureMissing):
        picture_query(tmp_path)
    with pytest.raises(PictureTooLarge, match="16 MiB and a query picture may have 16"):
        picture_query(tmp_path / "large.jpg")
