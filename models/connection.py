"""One request over HTTPS, and what may go wrong with it, in sentences. Knows nothing of files.

The standard library's client is enough: it verifies certificates and honours the proxy variables.
"""

from __future__ import annotations

import http.client
import ipaddress
import ssl
import urllib.error
import urllib.request
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from models.errors import DownloadFailed

#: Seconds without a byte, or without an answer, after which the connection counts as dead.
SILENCE_SECONDS: Final = 30.0


def ask(address: str, headers: dict[str, str], *, trusts_plain: bool) -> http.client.HTTPResponse:
    """The answer, its body unread. Plain HTTP is taken only where `trusts_plain`, or on this machine, and never after
    HTTPS.

    Raises DownloadFailed if an address is refused, HTTPError if the server refuses, and URLError, OSError or
    HTTPException if it cannot be reached; see `answered` and `unreachable`.
    """
    _refuse_unsafe(address, address, trusts_plain)
    opener = urllib.request.build_opener(
        _Redirects(trusts_plain), urllib.request.HTTPSHandler(context=ssl.create_default_context())
    )
    fixed = {"User-Agent": "imagefleet", "Accept-Encoding": "identity"}
    request = urllib.request.Request(address, headers=fixed | headers)  # noqa: S310  _refuse_unsafe saw it
    response: http.client.HTTPResponse = opener.open(request, timeout=SILENCE_SECONDS)
    return response


def host(address: str) -> str:
    """For sentences: without a password that may stand in the address."""
    return urlsplit(address).hostname or address


def answered(address: str, error: urllib.error.HTTPError) -> DownloadFailed:
    """What to say of an answer that is no success. The phrase is ours: the server's may be anything."""
    try:
        phrase = http.HTTPStatus(error.code).phrase
    except ValueError:
        phrase = ""
    said = f"{host(address)} answers {error.code} {phrase}".rstrip()
    if error.code in (http.HTTPStatus.NOT_FOUND, http.HTTPStatus.GONE):
        path = urlsplit(address).path
        return DownloadFailed(f"{said} to {path}: the file is not there; give another address by --url.")
    if error.code in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
        return DownloadFailed(f"{said}: it does not give the file to everybody; give another address by --url.")
    return DownloadFailed(f"{said}; try again later, or give another address by --url.")


def unreachable(address: str, reason: Any) -> DownloadFailed:
    """What to say if no answer came."""
    if isinstance(reason, ssl.SSLCertVerificationError):
        return DownloadFailed(
            f"The certificate of {host(address)} is not trusted ({reason.verify_message}); "
            "if it is yours, name your authority's file in SSL_CERT_FILE."
        )
    return DownloadFailed(
        f"{host(address)} cannot be reached ({why(reason)}); "
        "see to the network, set HTTPS_PROXY, or name a mirror in IMAGEFLEET_MODEL_MIRROR."
    )


def why(error: Any) -> str:
    """An error in a few words."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


# --- addresses


class _Redirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, trusts_plain: bool) -> None:
        self._trusts_plain = trusts_plain

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        _refuse_unsafe(req.full_url, newurl, self._trusts_plain)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _refuse_unsafe(old: str, new: str, trusts_plain: bool) -> None:
    """Raises DownloadFailed unless one may go from `old` to `new`."""
    target = _parts(new)
    if target.scheme == "https":
        return
    if _parts(old).scheme == "https":
        raise DownloadFailed(f"{host(old)} leads on to plain HTTP ({host(new)}), which is refused; ask another server.")
    if not trusts_plain and not _is_here(host(new)):
        raise DownloadFailed(f"No checksum is known yet, so plain HTTP ({host(new)}) is refused; use HTTPS.")


def _parts(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise DownloadFailed(f"{address!r} is no address of HTTPS or HTTP; give another.")
    return parts


def _is_here(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
