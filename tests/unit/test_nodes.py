"""Who lives: what nodes say of themselves in Redis, and for how long that is believed."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.waiting import wait_until
from workers import nodes
from workers.ledger import LedgerUnavailable, connect
from workers.nodes import Heartbeat, Node, Nodes

COLOUR = Node("index@here", 7, 2, ["index.colour"])
PATIENCE = 60.0


@pytest.fixture
def redis(redis_url: str) -> Redis:
    return connect(redis_url)


def test_a_node_lives_from_its_first_word_to_its_farewell(redis: Redis) -> None:
    Nodes(redis).announce(COLOUR)
    assert Nodes(redis).alive() == {"index@here": COLOUR}
    Nodes(redis).withdraw(COLOUR)
    assert Nodes(redis).alive() == {}


def test_the_last_word_of_a_node_counts(redis: Redis) -> None:
    Nodes(redis).announce(COLOUR)
    more = Node("index@here", 8, 3, ["index.colour"])
    Nodes(redis).announce(more)
    assert Nodes(redis).alive() == {"index@here": more}


def test_a_node_that_was_killed_is_believed_for_a_short_time_only(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "LIFE", 0.2)
    Nodes(redis).announce(COLOUR)
    wait_until(lambda: Nodes(redis).alive() == {}, PATIENCE, "the node to be forgotten")
    Nodes(redis).announce(Node("index@there", 1, 1, []))
    assert redis.zcard("imagefleet:nodes") == 1


@pytest.mark.parametrize("entry", ["", "7", "[]", "{}", '{"name": "x"}', "\udcff".encode("utf-8", "surrogateescape")])
def test_what_no_node_said_is_passed_over(redis: Redis, entry: str | bytes) -> None:
    Nodes(redis).announce(COLOUR)
    redis.zadd("imagefleet:nodes", {entry: 2**50})
    assert Nodes(redis).alive() == {"index@here": COLOUR}


def test_a_heartbeat_tells_of_a_node_until_it_ends(redis: Redis) -> None:
    heartbeat = Heartbeat(Nodes(redis), lambda: COLOUR)
    heartbeat.start()
    wait_until(lambda: "index@here" in Nodes(redis).alive(), PATIENCE, "the first word")
    heartbeat.stop()
    heartbeat.join(PATIENCE)
    assert Nodes(redis).alive() == {}


def test_a_node_whose_loop_stands_still_is_silent(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a node that waits for its loop no time at all
    monkeypatch.setattr(nodes, "LIFE", 0.0)
    monkeypatch.setattr(nodes, "PERIOD", 0.01)
    looked = []
    heartbeat = Heartbeat(Nodes(redis), lambda: looked.append(1) or COLOUR)
    # When its loop does not turn
    heartbeat.start()
    heartbeat.join(0.2)
    heartbeat.stop()
    heartbeat.join(PATIENCE)
    # Then it says farewell only
    assert len(looked) == 1


def test_a_heartbeat_outlives_a_redis_that_is_away() -> None:
    heartbeat = Heartbeat(Nodes(connect("redis://127.0.0.1:1/0")), lambda: COLOUR)
    heartbeat.start()
    heartbeat.join(1.5)
    assert heartbeat.is_alive()
    heartbeat.stop()
    heartbeat.join(PATIENCE)
    assert not heartbeat.is_alive()


def test_asking_for_one_node(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEFLEET_REDIS_URL", redis_url)
    Nodes(redis).announce(COLOUR)
    assert nodes.main(["index@here"]) == ""
    assert nodes.main(["index@there"]) == "No node index@there lives; alive are: index@here."
    assert nodes.main([]).startswith("Name one node")
    monkeypatch.setenv("IMAGEFLEET_REDIS_URL", "redis://127.0.0.1:1/0")
    assert nodes.main(["index@here"]).startswith("Redis does not answer")


def test_a_redis_that_is_away_is_said() -> None:
    with pytest.raises(LedgerUnavailable, match="imagefleet up"):
        Nodes(connect("redis://127.0.0.1:1/0")).alive()
