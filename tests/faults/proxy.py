"""A TCP proxy between two parts of the system: passes on, delays, cuts, swallows or spoils what goes through."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from tests.services import free_port

#: pass: as it is. away: nothing listens. silent: takes everything and passes on nothing, like a cable that was pulled.
#: garbage: now and then bytes that nobody sent.
Mode = Literal["pass", "away", "silent", "garbage"]
#: Bytes read at once.
PIECE = 16_384
#: Seconds after which a thread looks whether the proxy was closed.
LOOK = 0.2


@dataclass
class Proxy:
    """Listens on `port` and leads to `target`, both on this machine."""

    target: int
    rng: random.Random
    port: int = field(default_factory=free_port)
    #: Seconds that each piece is kept back.
    delay: float = 0.0
    #: Connections end after some of these many bytes; 0 is never.
    cut_after: int = 0
    _mode: Mode = "pass"
    _listener: socket.socket | None = None
    _pairs: set[tuple[socket.socket, socket.socket]] = field(default_factory=set)
    _threads: list[threading.Thread] = field(default_factory=list)
    _closed: threading.Event = field(default_factory=threading.Event)

    def open(self) -> Proxy:
        self._listen()
        return self

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        """`away` ends what is connected; the others concern connections that there are, too."""
        was, self._mode = self._mode, mode
        if mode == "away":
            self._stop_listening()
            self.cut()
        elif was == "away":
            self._listen()

    def cut(self) -> None:
        """End every connection at once, as if the cable were pulled out and put in again."""
        for pair in tuple(self._pairs):
            self._end(pair)

    def close(self) -> None:
        self._closed.set()
        self._stop_listening()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self._listener.settimeout(LOOK)
        self._spawn(self._accept, self._listener)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            listener, self._listener = self._listener, None
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while listener is self._listener:
            try:
                near, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self._connect(near)

    def _connect(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(("127.0.0.1", self.target), 5)
        except OSError:
            near.close()
            return
        pair = (near, far)
        self._pairs.add(pair)
        for end in pair:
            end.settimeout(LOOK)
        left = [self.rng.randrange(1, self.cut_after)] if self.cut_after else []
        self._spawn(self._pump, near, far, pair, left)
        self._spawn(self._pump, far, near, pair, left)

    def _pump(
        self, source: socket.socket, sink: socket.socket, pair: tuple[socket.socket, socket.socket], left: list[int]
    ) -> None:
        while pair in self._pairs:
            try:
                piece = source.recv(PIECE)
            except TimeoutError:
                continue
            except OSError:
                break
            if not piece or not self._pass_on(piece, sink, left):
                break
        self._end(pair)

    def _pass_on(self, piece: bytes, sink: socket.socket, left: list[int]) -> bool:
        """False if the connection is to end now."""
        if self.delay:
            self._closed.wait(self.delay)
        if self._mode == "silent":
            return True
        if self._mode == "garbage" and self.rng.random() < 0.05:
            piece = self.rng.randbytes(64)
        if left:
            piece, left[0] = piece[: left[0]], left[0] - len(piece)
        with suppress(OSError):
            sink.settimeout(10)
            sink.sendall(piece)
            sink.settimeout(LOOK)
            return not left or left[0] > 0
        return False

    def _end(self, pair: tuple[socket.socket, socket.socket]) -> None:
        self._pairs.discard(pair)
        for end in pair:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _spawn(self, call: object, *args: object) -> None:
        thread = threading.Thread(target=call, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads = [*(known for known in self._threads if known.is_alive()), thread]
        thread.start()
