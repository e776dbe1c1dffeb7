"""Clips from addresses of others, which may name anything: this machine, its neighbours, an endless film.

A name is resolved once, and the address that was looked at is the one that is called. Every address a name
has must be one of the open internet; each redirect is judged as the first address was.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import BinaryIO

from vidapt.serving.refused import RefusedError, wrong
from vidapt.version import VERSION

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 3
_CHUNK = 1 << 16
_EMBEDDED = ipaddress.ip_network("64:ff9b::/96")

Resolve = Callable[[str, int], list[str]]
Dial = Callable[[str, int, float], socket.socket]


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(one[4][0]) for one in found]


def dial(address: str, port: int, timeout_s: float) -> socket.socket:
    """A connection to an address in numbers."""
    return socket.create_connection((address, port), timeout_s)


def is_open(address: str) -> bool:
    """Whether an address is one of the open internet, and leads to no other one that is not."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = [found.ipv4_mapped, found.sixtofour, *(found.teredo or ())]
        if found in _EMBEDDED:
            inner.append(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
        if any(one is not None and not is_open(str(one)) for one in inner):
            return False
        if found.is_site_local:
            return False
    return found.is_global and not found.is_multicast and not found.is_reserved


@dataclass(frozen=True)
class Fetcher:
    """Fetches clips.

    Attributes:
        most_bytes: Of one clip.
        timeout_s: All that one may take, redirects included.
        resolve: Gives the addresses of a name.
        dial: Opens a connection.
    """

    most_bytes: int
    timeout_s: float = 20.0
    resolve: Resolve = resolve
    dial: Dial = dial

    def fetch(self, url: str, out: Path) -> None:
        """Write what lies at an address into a file.

        Raises:
            RefusedError: If it is not to be asked, cannot be reached, or sends too much.
        """
        until = time.monotonic() + self.timeout_s
        for _ in range(_MOST_REDIRECTS + 1):
            try:
                moved = self._once(url, out, until)
            except (OSError, http.client.HTTPException, ValueError):
                # Not what it was: whoever asks is not told which doors of this network are open.
                raise _unreachable() from None
            if moved is None:
                return
            url = urllib.parse.urljoin(url, moved)
        raise wrong(f"an address leads on more than {_MOST_REDIRECTS} times", code="unreachable_url")

    def _once(self, url: str, out: Path, until: float) -> str | None:
        """Fetch, or say where it has gone."""
        parts = _parts(url)
        secure = parts.scheme == "https"
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
        left = until - time.monotonic()
        if left <= 0:
            raise _unreachable()
        with closing(self._called(host, port, left, secure=secure)) as line:
            # A socket's own patience begins anew with every byte.
            watch = Timer(max(0.0, until - time.monotonic()), _cut, [line])
            watch.daemon = True
            watch.start()
            try:
                moved = self._asked(line, parts, out)
            finally:
                watch.cancel()
        if time.monotonic() >= until:  # cut off, which looks like an end where no length was said
            raise _unreachable()
        return moved

    def _called(self, host: str, port: int, left_s: float, *, secure: bool) -> socket.socket:
        addresses = self.resolve(host, port)
        if not addresses or not all(map(is_open, addresses)):
            raise wrong("that address is not one of the open internet", code="refused_url")
        line = self.dial(addresses[0], port, left_s)
        if not secure:
            return line
        try:
            return ssl.create_default_context().wrap_socket(line, server_hostname=host)
        except BaseException:
            line.close()
            raise

    def _asked(self, line: socket.socket, parts: urllib.parse.SplitResult, out: Path) -> str | None:
        connection = http.client.HTTPConnection(parts.netloc.encode("idna").decode())
        connection.sock = line
        path = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
        query = urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
        headers = {
            "Accept": "video/*, image/*",
            "Accept-Encoding": "identity",
            "User-Agent": f"vidapt/{VERSION}",
        }
        connection.request("GET", f"{path}?{query}" if query else path, headers=headers)
        with connection.getresponse() as response:
            if response.status in _REDIRECTS and (moved := response.getheader("location")):
                return moved
            if response.status != 200 or response.getheader("content-encoding", "identity") != "identity":
                raise _unreachable()
            if response.length is not None and response.length > self.most_bytes:
                raise self._too_long()
            with out.open("wb") as file:
                self._copy(response, file)
        return None

    def _copy(self, response: http.client.HTTPResponse, file: BinaryIO) -> None:
        left = self.most_bytes
        while chunk := response.read1(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise self._too_long()
            file.write(chunk)
        if response.length:
            raise _unreachable()

    def _too_long(self) -> RefusedError:
        return wrong(f"what lies there has more than {self.most_bytes} bytes", code="too_large")


def _parts(url: str) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.port
    except ValueError:
        raise wrong("that is no address", code="refused_url") from None
    plain = url.isprintable() and " " not in url and "\\" not in url
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise wrong("addresses of clips begin with https:// or http://", code="refused_url")
    if parts.username is not None or parts.password is not None:
        raise wrong("an address of a clip holds no secrets", code="refused_url")
    return parts


def _unreachable() -> RefusedError:
    return wrong("the address gives no file", code="unreachable_url")


def _cut(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
