"""The websockets of clients: what is to be sent to each, from any thread, without waiting for a slow one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MOST_WAITING = 10_000
"""Messages that a client may leave unread before it is let go."""
PREVIEW, PREVIEW_WITH_METADATA = 1, 4
JPEG, PNG = 1, 2


@dataclass(frozen=True)
class Text:
    """A message in JSON."""

    text: str


@dataclass(frozen=True)
class Frame:
    """A binary message; of those that are `stale` as soon as a newer one comes, only the newest is sent."""

    data: bytes
    stale: bool = False


Message = Text | Frame


def text_message(kind: str, data: Mapping[str, Any]) -> Text:
    """A message of that type."""
    return Text(json.dumps({"type": kind, "data": data}))


def preview_frame(picture: bytes, kind: int) -> bytes:
    """A picture behind two big-endian words: 1 for a preview, then JPEG or PNG."""
    return struct.pack(">II", PREVIEW, kind) + picture


def preview_with_metadata(picture: bytes, metadata: Mapping[str, Any]) -> bytes:
    """A picture behind the word 4, the length of the JSON that follows, and that JSON."""
    words = json.dumps(metadata).encode()
    return struct.pack(">II", PREVIEW_WITH_METADATA, len(words)) + words + picture


@dataclass
class Channel:
    """What is to be sent to one websocket. `put` may be called in any thread, all else in the socket's own loop."""

    id: str
    loop: asyncio.AbstractEventLoop
    takes_metadata: bool = False
    """Whether the client said that it reads previews with metadata."""
    closed: bool = False
    preview_waits: bool = False
    """Whether a preview has not been sent yet."""
    _messages: deque[Message] = field(default_factory=deque)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, message: Message) -> None:
        """Send a message as soon as those before it are gone."""
        if isinstance(message, Frame) and message.stale:
            self.preview_waits = True
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self.loop.call_soon_threadsafe(self._put, message)

    def _put(self, message: Message) -> None:
        if isinstance(message, Frame) and message.stale:
            self._messages = deque(one for one in self._messages if not (isinstance(one, Frame) and one.stale))
        self._messages.append(message)
        self.closed = self.closed or len(self._messages) > MOST_WAITING
        self._woken.set()

    def close(self) -> None:
        """End it from any thread."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._close)

    def _close(self) -> None:
        self.closed = True
        self._woken.set()

    async def next(self) -> Message | None:
        """The next message, once there is one; None where the channel was closed."""
        while not self.closed:
            if self._messages:
                message = self._messages.popleft()
                if isinstance(message, Frame) and message.stale:
                    self.preview_waits = False
                return message
            self._woken.clear()
            await self._woken.wait()
        return None


class Channels:
    """The channels by the clients' ids; of two with one id the later counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: dict[str, Channel] = {}

    def open(self, channel: Channel) -> None:
        """Let a channel take the place of an earlier one with its id."""
        with self._lock:
            earlier = self._by_id.get(channel.id)
            self._by_id[channel.id] = channel
        if earlier is not None:
            earlier.close()

    def drop(self, channel: Channel) -> None:
        """Forget a channel that has ended, unless another has taken its place."""
        with self._lock:
            if self._by_id.get(channel.id) is channel:
                del self._by_id[channel.id]

    def of(self, client: str | None) -> Channel | None:
        """The channel of a client, if it is there."""
        with self._lock:
            return self._by_id.get(client) if client is not None else None

    def send(self, client: str | None, message: Message) -> None:
        """Send to one client, if it is there."""
        channel = self.of(client)
        if channel is not None:
            channel.put(message)

    def broadcast(self, message: Message) -> None:
        """Send to all."""
        with self._lock:
            channels = list(self._by_id.values())
        for channel in channels:
            channel.put(message)

    def close(self) -> None:
        """End all."""
        with self._lock:
            channels = list(self._by_id.values())
        for channel in channels:
            channel.close()
