"""A server of files on this machine that can do what servers do to downloads."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

#: Seconds that a response waits for a test to let it go on.
GATE_SECONDS = 30


class Asked(NamedTuple):
    path: str
    #: Byte asked for first; None for the whole file.
    start: int | None


class FileServer:
    """Serves `files`, path to bytes. What it does to them may be changed at any time."""

    def __init__(self, files: Mapping[str, bytes], certificate: Path | None = None) -> None:
        self.files = dict(files)
        #: None for a server that has no name for versions.
        self.etag: str | None = '"first"'
        self.has_ranges = True
        self.says_length = True
        #: Path to the full address that it leads on to.
        self.redirects: dict[str, str] = {}
        #: Instead of 200.
        self.status = 200
        #: The next bodies end after so many bytes, each.
        self.cuts: list[int] = []
        #: If set, each body stops in its middle until `gate` is open.
        self.stops_in_the_middle = False
        self.gate = threading.Event()
        self.asked: list[Asked] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def address(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FileServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server._answer(self)

            def log_message(self, *_: Any) -> None: ...

        return Handler

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        # A proxy is asked for full addresses.
        path = request.path
        start = self._start(request)
        self.asked.append(Asked(path, start))
        if path in self.redirects:
            self._head(request, 302, Location=self.redirects[path])
        elif self.status != 200 or path not in self.files:
            self._head(request, self.status if self.status != 200 else 404)
        elif start is not None and start >= len(self.files[path]):
            self._head(request, 416)
        else:
            self._send(request, self.files[path], start)

    def _start(self, request: BaseHTTPRequestHandler) -> int | None:
        wanted = request.headers.get("Range")
        fresh = self.has_ranges and request.headers.get("If-Range") == self.etag
        return int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and fresh else None

    def _send(self, request: BaseHTTPRequestHandler, data: bytes, start: int | None) -> None:
        body = data[start or 0 :]
        headers = {"ETag": self.etag} if self.etag else {}
        if self.says_length:
            headers["Content-Length"] = str(len(body))
        if start is not None:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._head(request, 200 if start is None else 206, **headers)
        cut = self.cuts.pop(0) if self.cuts else len(body)
        half = len(body) // 2 if self.stops_in_the_middle else cut
        try:
            request.wfile.write(body[:half])
            request.wfile.flush()
            if self.stops_in_the_middle:
                self.gate.wait(GATE_SECONDS)
                request.wfile.write(body[half:cut])
        except OSError:
            # The other side has had enough.
            pass
        request.close_connection = True

    def _head(self, request: BaseHTTPRequestHandler, status: int, **headers: str) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()


def certificate(folder: Path) -> Path:
    """A key and a certificate for 127.0.0.1 that is its own authority, in one file; raises FileNotFoundError without
    openssl."""
    key, cert, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    both.write_bytes(key.read_bytes() + cert.read_bytes())
    return both
