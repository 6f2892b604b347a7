"""The websocket of a client: what its prompts come to, as they go on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import uuid
from collections.abc import Coroutine
from typing import Any

import anyio
from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from hires.server.comfy.channels import Channel, Text, text_message
from hires.server.comfy.state import comfy_of

router = APIRouter()
ID = re.compile(r"[\x21-\x7e]{1,200}")
MOST_MESSAGE = 100_000
FEATURES: dict[str, Any] = {"supports_preview_metadata": True, "max_upload_size": 104_857_600}
GOING_AWAY = 1001


@router.websocket("/ws")
async def socket(websocket: WebSocket) -> None:
    """Tell a client how many jobs there are, and of its own prompts whatever happens."""
    comfy = comfy_of(websocket)
    id = websocket.query_params.get("clientId", "")
    await websocket.accept()
    channel = Channel(id if ID.fullmatch(id) else uuid.uuid4().hex, asyncio.get_running_loop())
    channel.put(text_message("status", {"status": comfy.prompts.status, "sid": channel.id}))
    comfy.channels.open(channel)
    running = comfy.prompts.running
    if running is not None and running.client == channel.id:
        running.catch_up(channel)
    try:
        async with anyio.create_task_group() as group:  # the first that ends, ends the other

            async def until_over(work: Coroutine[Any, Any, None]) -> None:
                await work
                group.cancel_scope.cancel()

            group.start_soon(until_over, _send(websocket, channel))
            group.start_soon(until_over, _hear(websocket, channel))
    finally:
        comfy.channels.drop(channel)
    if channel.closed:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await websocket.close(GOING_AWAY)


async def _send(websocket: WebSocket, channel: Channel) -> None:
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # the client has gone
        while (message := await channel.next()) is not None:
            if isinstance(message, Text):
                await websocket.send_text(message.text)
            else:
                await websocket.send_bytes(message.data)


async def _hear(websocket: WebSocket, channel: Channel) -> None:
    """What the client says: only what it is able to read counts."""
    while True:
        received = await websocket.receive()
        if received["type"] == "websocket.disconnect":
            return
        text = received.get("text") or ""
        if len(text) > MOST_MESSAGE:
            return
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(said, dict) and said.get("type") == "feature_flags":
            flags = said.get("data")
            channel.takes_metadata = isinstance(flags, dict) and flags.get("supports_preview_metadata") is True
            channel.put(text_message("feature_flags", FEATURES))
