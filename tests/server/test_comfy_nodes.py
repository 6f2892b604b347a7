"""What ComfyUI's clients are told of nodes, models and the machine; who may open a websocket; what a socket carries."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from safetensors.numpy import save_file
from starlette.websockets import WebSocketDisconnect

from hires.nodes.registry import node_registry
from hires.server.comfy.channels import MOST_WAITING, Channel, Channels, Frame, Text, preview_with_metadata

SOCKET = "ws://127.0.0.1/ws"


def test_every_node_is_described(client: TestClient) -> None:
    found = client.get("/object_info").json()
    assert list(found) == list(node_registry())
    sampler = found["KSampler"]
    assert sampler["input"]["required"]["steps"] == ["INT", {"default": 20, "min": 1, "max": 10000}]
    assert sampler["output"] == ["LATENT"] and sampler["output_node"] is False
    assert client.get("/api/object_info/KSampler").json() == {"KSampler": sampler}
    assert client.get("/object_info/NoSuchNode").json() == {}


def test_the_machine(client: TestClient) -> None:
    found = client.get("/system_stats").json()
    assert found["system"]["comfyui_version"].count(".") == 2 and found["system"]["argv"] == []
    (device,) = found["devices"]
    assert device["vram_total"] > 0 and device["type"] == "cpu"
    assert client.get("/features").json()["supports_preview_metadata"] is True
    assert client.get("/extensions").json() == []
    assert client.get("/users").json() == {"storage": "server", "migrated": True}


def test_models_by_kind(client: TestClient, home: Path) -> None:
    folder = home / "models" / "embeddings" / "sub"
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"emb_params": np.zeros((1, 4), np.float32)}
    save_file(tensors, folder / "calm.safetensors", metadata={"said": "so"})
    assert client.get("/embeddings").json() == ["hires-pocket-mika", "sub/calm"]
    assert client.get("/models/embeddings").json() == ["hires-pocket-mika.safetensors", "sub/calm.safetensors"]
    assert {"checkpoints", "loras", "vae"} <= set(client.get("/models").json())
    assert client.get("/models/secrets").status_code == 404
    asked = "/view_metadata/embeddings?filename="
    assert client.get(f"{asked}sub/calm.safetensors").json() == {"said": "so"}
    for name in ("none.safetensors", "../../styles.csv", "sub/calm.pt"):
        assert client.get(f"{asked}{name}").status_code == 404


def test_the_start_page_is_still_there(client: TestClient) -> None:
    assert client.get("/").json()["name"] == "hires"


@pytest.mark.parametrize("place", ["/ws", "/api/ws", "/editor/ws", "/editor/api/ws"])
def test_sockets_are_guarded(guarded: Callable[..., TestClient], place: str) -> None:
    client = guarded(passwords=("anna:secret",), origins=("https://example.org",))
    word = {"Authorization": f"Basic {base64.b64encode(b'anna:secret').decode()}"}
    url = f"ws://127.0.0.1{place}"
    for address, headers in (
        (url, {}),
        (url, {"Authorization": "Basic AAAA"}),
        (url, word | {"Origin": "https://elsewhere.org"}),
        (url, word | {"Origin": "null"}),
        (f"ws://rebound.example{place}", word),
    ):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(address, headers=headers):
            pass
    for headers in (word, word | {"Origin": "http://127.0.0.1"}, word | {"Origin": "https://example.org"}):
        with client.websocket_connect(url, headers=headers) as socket:
            assert socket.receive_json()["type"] == "status"


def test_a_client_without_an_id_gets_one(client: TestClient) -> None:
    ids = []
    for query in ("", "?clientId=", "?clientId=a%20b", f"?clientId={'x' * 300}"):
        with client.websocket_connect(SOCKET + query) as socket:
            ids.append(socket.receive_json()["data"]["sid"])
    assert len(set(ids)) == 4 and all(len(id) == 32 for id in ids)


def test_the_later_of_two_sockets_counts(client: TestClient) -> None:
    with client.websocket_connect(f"{SOCKET}?clientId=twin") as first:
        first.receive_json()
        with client.websocket_connect(f"{SOCKET}?clientId=twin") as second:
            assert second.receive_json()["data"]["sid"] == "twin"
            with pytest.raises(WebSocketDisconnect):
                first.receive_json()
            second.send_text("no JSON")
            second.send_text("[" * 50_000)
            second.send_bytes(b"\x00\xff")
            second.send_json({"type": "feature_flags", "data": {}})
            assert second.receive_json()["type"] == "feature_flags"


def test_of_previews_only_the_newest_is_sent() -> None:
    async def run() -> list[str | bytes]:
        channel = Channel("one", asyncio.get_running_loop())
        for message in (Text("a"), Frame(b"1", stale=True), Text("b"), Frame(b"2", stale=True), Frame(b"kept")):
            channel.put(message)
        assert channel.preview_waits
        await asyncio.sleep(0)
        found: list[str | bytes] = []
        for _ in range(4):
            message = await channel.next()
            assert message is not None
            found.append(message.text if isinstance(message, Text) else message.data)
        assert not channel.preview_waits
        return found

    assert asyncio.run(run()) == ["a", "b", b"2", b"kept"]


def test_a_client_that_reads_nothing_is_let_go() -> None:
    async def run() -> bool:
        channels, channel = Channels(), Channel("slow", asyncio.get_running_loop())
        channels.open(channel)
        for _ in range(MOST_WAITING + 1):
            channels.send("slow", Text("x"))
        await asyncio.sleep(0)
        return await channel.next() is None

    assert asyncio.run(run())


def test_a_frame_with_metadata() -> None:
    frame = preview_with_metadata(b"picture", {"node_id": "3"})
    kind, length = struct.unpack(">II", frame[:8])
    assert kind == 4 and json.loads(frame[8 : 8 + length]) == {"node_id": "3"} and frame[8 + length :] == b"picture"
