"""Who may speak to the server: the right host and page, the right password, and no more bytes than fit.

A page of another site can make a browser send requests here, and a name of its own can be made to point to this
machine (rebinding). So the name in `Host` must be this machine's and the page in `Origin`, where one is named, ours.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hires.errors import SettingError
from hires.server.faults import fault

MOST_BODY_BYTES = 256_000_000
LOCAL_NAMES = ("localhost",)


@dataclass(frozen=True)
class Rules:
    """passwords are "user:password"; origins are pages of other sites that may call, as "https://example.org"; names
    are what this machine is called besides localhost and its addresses."""

    passwords: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    most_body_bytes: int = MOST_BODY_BYTES

    def __post_init__(self) -> None:
        for entry in self.passwords:
            user, colon, word = entry.partition(":")
            if not (user and colon and word):
                raise SettingError("a password is written user:password", "Such as --auth anna:secret.")
        for origin in self.origins:
            if urlsplit(origin).scheme not in ("http", "https") or not urlsplit(origin).netloc:
                raise SettingError(f"the origin {origin!r} is no address of a page", "Such as https://example.org.")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() in LOCAL_NAMES


def check_exposure(host: str, passwords: Sequence[str], is_open: bool) -> None:
    """SettingError for an address that others can reach, without a password or the explicit word."""
    if not is_loopback(host) and not passwords and not is_open:
        raise SettingError(
            f"at the address {host} others could use this machine",
            "Give a password with --auth user:password, or say --open if that is meant.",
        )


class Guard:
    """An ASGI application in front of another: what breaks the rules is answered here."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self.app, self.rules = app, rules
        self._names = {*LOCAL_NAMES, socket.gethostname().lower(), *(name.lower() for name in rules.names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(headers)
        if refusal is None and scope["type"] == "http":
            body = await self._body(headers, receive)
            if body is None:
                limit = self.rules.most_body_bytes // 1_000_000
                refusal = (413, f"the request is larger than {limit} MB")
            else:
                await self.app(scope, replayed(body, receive), send)
                return
        if refusal is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await fault(refusal[0], "HTTPException", refusal[1])(scope, receive, send)

    def _refusal(self, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._known_host(host):
            return 403, "this server does not go by that name; use localhost or its address"
        origin = headers.get("origin")
        if origin is not None and origin not in self.rules.origins and not _same_place(origin, host):
            return 403, "pages of other sites may not use this server; start it with --cors-origin to let one"
        if not self.rules.origins and _is_of_another_site(headers):
            return 403, "pages of other sites may not use this server"
        if self.rules.passwords and not self._known_user(headers.get("authorization", "")):
            return 401, "Incorrect username or password"
        return None

    def _known_host(self, host: str) -> bool:
        """An address cannot be rebound; a name can, so that only known ones count."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            ipaddress.ip_address(name)
        except ValueError:
            name = host.rsplit(":", 1)[0].lower()
            return name in self._names
        return True

    def _known_user(self, authorization: str) -> bool:
        scheme, _, coded = authorization.partition(" ")
        try:
            given = base64.b64decode(coded, validate=True) if scheme.lower() == "basic" else b""
        except (binascii.Error, ValueError):
            given = b""
        equal = [hmac.compare_digest(given, known.encode()) for known in self.rules.passwords]
        return any(equal)  # all are compared, so that the time tells nothing

    async def _body(self, headers: Headers, receive: Receive) -> bytes | None:
        """The whole body; None if it is too large."""
        stated = headers.get("content-length", "0")
        if not stated.isdecimal() or len(stated) > 18 or int(stated) > self.rules.most_body_bytes:
            return None
        parts, size = list[bytes](), 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return b"".join(parts)
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.rules.most_body_bytes:
                return None
            if not message.get("more_body", False):
                return b"".join(parts)


def _same_place(origin: str, host: str) -> bool:
    """Whether a page comes from the very server that it calls."""
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _is_of_another_site(headers: Headers) -> bool:
    """Whether a browser says that another site's page wants this, and not a person who follows a link."""
    return headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate"


def replayed(body: bytes, receive: Receive) -> Receive:
    """What gives a body that was read once more."""
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
