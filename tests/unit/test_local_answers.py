"""Each question says yes to the real thing and no to a stranger on its port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from workers.local import answers, ports
from workers.settings import Settings


@contextmanager
def http_server(status: int) -> Iterator[int]:
    """An HTTP server that gives every page that status."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def nobodys_port() -> int:
    return ports.choose(None)


def test_redis_says_why_it_does_not_answer(redis_url: str, nobodys_port: int) -> None:
    assert answers.redis_answers(redis_url)
    assert "refused" in answers.redis_refuses(f"redis://127.0.0.1:{nobodys_port}/0")
    assert "scheme" in answers.redis_refuses("http://127.0.0.1")


def test_redis_does_not_answer_where_something_else_listens() -> None:
    with http_server(200) as port:
        assert not answers.redis_answers(f"redis://127.0.0.1:{port}/0")


def test_milvus_is_told_from_a_web_server(milvus_uri: str, nobodys_port: int) -> None:
    assert answers.milvus_answers(int(milvus_uri.rpartition(":")[2]))
    assert not answers.milvus_answers(nobodys_port)
    with http_server(200) as port:
        assert not answers.milvus_answers(port)


@pytest.mark.parametrize(("status", "answer"), [(200, True), (302, True), (401, True), (404, False), (500, False)])
def test_flower_gives_a_page_or_asks_for_its_password(status: int, answer: bool) -> None:
    with http_server(status) as port:
        assert answers.flower_answers("127.0.0.1", port) is answer
        assert answers.flower_answers("0.0.0.0", port) is answer  # noqa: S104 -- it listens everywhere, so here too


def test_flower_does_not_answer_where_nobody_listens(nobodys_port: int) -> None:
    assert not answers.flower_answers("127.0.0.1", nobodys_port)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1", "http://", "file.db", "http://127.0.0.1:99999"])
def test_a_milvus_that_is_not_there(uri: str) -> None:
    assert not answers.is_listening(uri)


def test_a_node_without_workers_is_not_ready(redis_url: str) -> None:
    assert not answers.node_is_ready(Settings(redis_url=redis_url), "index@nowhere", 1)


def test_a_port_is_free_until_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not ports.is_free(port)
        assert ports.choose(port) != port
    assert ports.is_free(port)
    assert ports.choose(port) == port
    assert ports.choose(port, taken=[port]) != port
