"""ComfyUI's prompts: queued, told about, looked at; with nodes that need no model."""

from __future__ import annotations

import hashlib
import json
import struct
import threading
import urllib.parse
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from starlette.testclient import WebSocketTestSession
from tests.server.conftest import PATIENCE, over, picture, settings_in

from hires.api import Engine

SOCKET = "ws://127.0.0.1/ws?clientId="


def heard(socket: WebSocketTestSession, prompt_id: str) -> list[Any]:
    """All messages until the prompt is over, as ComfyUI's example client waits for it."""
    found: list[Any] = []
    while True:
        message = socket.receive()
        if message.get("bytes") is not None:
            found.append(message["bytes"])
            continue
        one = json.loads(message["text"])
        found.append(one)
        data = one["data"]
        if one["type"] == "executing" and data["node"] is None and data["prompt_id"] == prompt_id:
            return found


def test_the_flow_of_the_example_client(client: TestClient, home: Path, tmp_path: Path) -> None:
    with client.websocket_connect(f"{SOCKET}example") as socket:
        first = socket.receive_json()
        assert first["type"] == "status" and first["data"]["sid"] == "example"
        assert first["data"]["status"]["exec_info"] == {"queue_remaining": 0}
        answer = client.post("/prompt", json={"prompt": picture(), "client_id": "example"})
        assert answer.status_code == 200 and answer.json()["node_errors"] == {}
        prompt_id = answer.json()["prompt_id"]
        messages = heard(socket, prompt_id)
    kinds = [one["type"] for one in messages]
    assert [kind for kind in kinds if kind not in ("status", "progress_state")] == [
        "execution_start", "execution_cached", "executing", "executing", "executed", "execution_success", "executing",
    ]  # fmt: skip
    remaining = [one["data"]["status"]["exec_info"]["queue_remaining"] for one in messages if one["type"] == "status"]
    assert remaining == [1, 1, 0]
    nodes = [one["data"]["node"] for one in messages if one["type"] == "executing"]
    assert nodes == ["1", "2", None]
    last_state = [one for one in messages if one["type"] == "progress_state"][-1]["data"]
    assert {id: state["state"] for id, state in last_state["nodes"].items()} == {"1": "finished", "2": "finished"}

    entry = client.get(f"/history/{prompt_id}").json()[prompt_id]
    assert entry["status"]["status_str"] == "success" and entry["status"]["completed"] is True
    events = [kind for kind, _ in entry["status"]["messages"]]
    assert events == ["execution_start", "execution_cached", "execution_success"]
    assert entry["prompt"][1] == prompt_id and entry["prompt"][4] == ["2"]
    (image,) = entry["outputs"]["2"]["images"]
    assert image == {"filename": image["filename"], "subfolder": "sub", "type": "output"}
    assert next(one for one in messages if one["type"] == "executed")["data"]["output"] == {"images": [image]}

    shown = client.get(f"/view?{urllib.parse.urlencode(image)}")
    assert shown.headers["content-type"] == "image/png"
    assert shown.content == (home / "output" / "sub" / image["filename"]).read_bytes()
    drawn = Image.open(BytesIO(shown.content))
    assert drawn.getpixel((3, 3)) == (0x33, 0x66, 0x99) and drawn.size == (16, 16)

    # the same workflow without a server: the same file, byte for byte
    (plain,) = Engine(settings_in(tmp_path)).run(picture()).ui["2"]["images"]
    assert (tmp_path / "output" / "sub" / plain["filename"]).read_bytes() == shown.content


def test_a_prompt_of_the_same_content_is_not_run_again(client: TestClient) -> None:
    with client.websocket_connect(f"{SOCKET}again") as socket:
        found = []
        for _ in range(2):
            body = {"prompt": picture(color=0x010203), "client_id": "again"}
            found.append(heard(socket, client.post("/api/prompt", json=body).json()["prompt_id"]))
    cached = [one["data"]["nodes"] for messages in found for one in messages if one["type"] == "execution_cached"]
    assert cached[0] == [] and sorted(cached[1]) == ["1", "2"]
    outputs = [one["data"]["output"] for messages in found for one in messages if one["type"] == "executed"]
    assert len(outputs) == 2 and outputs[0] == outputs[1]


def test_faults_are_told_as_comfyui_does(client: TestClient) -> None:
    wrong = picture()
    wrong["1"]["inputs"] |= {"width": -1, "height": "tall"}
    answer = client.post("/prompt", json={"prompt": wrong})
    assert answer.status_code == 400
    body = answer.json()
    assert body["error"]["type"] == "prompt_outputs_failed_validation"
    assert set(body["error"]) == {"type", "message", "details", "extra_info"}
    assert body["node_errors"]["1"]["class_type"] == "EmptyImage"
    assert body["node_errors"]["1"]["dependent_outputs"] == ["2"]
    faults = {one["extra_info"]["input_name"]: one for one in body["node_errors"]["1"]["errors"]}
    assert faults["width"]["message"] == "Value -1 smaller than min of 1"
    assert faults["height"]["type"] == "invalid_input_type"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({}, "no_prompt"),
        ([1], "no_prompt"),
        ({"prompt": {}}, "prompt_no_outputs"),
        ({"prompt": {"1": {"class_type": "EmptyImage", "inputs": {}}}}, "prompt_no_outputs"),
        ({"prompt": [1]}, "invalid_prompt"),
        ({"prompt": {"1": {"inputs": {}}}}, "invalid_prompt"),
        ({"prompt": picture() | {"9": {"class_type": "NoSuchNode", "inputs": {}}}}, "invalid_prompt"),
        ({"prompt": picture(), "prompt_id": "../../etc"}, "invalid_prompt_id"),
        ({"prompt": picture(), "client_id": {"a": 1}}, "invalid_prompt"),
        ({"prompt": picture(), "extra_data": {"extra_pnginfo": {"": 1}}}, "invalid_prompt"),
        ({"prompt": picture(), "extra_data": 3}, "invalid_prompt"),
        ({"prompt": picture(), "partial_execution_targets": ["1"]}, "prompt_no_outputs"),
        ({"prompt": picture(), "partial_execution_targets": "2"}, "invalid_prompt"),
    ],
)
def test_bodies_that_are_refused_as_a_whole(client: TestClient, body: Any, kind: str) -> None:
    answer = client.post("/prompt", json=body)
    assert answer.status_code == 400 and answer.json()["error"]["type"] == kind
    assert isinstance(answer.json()["node_errors"], dict)


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"prompt": ' + b"[" * 5000, b"\xff", b'{"prompt": 1' + b"0" * 5000 + b"}"]
)
def test_bad_json_is_refused(client: TestClient, data: bytes) -> None:
    answer = client.post("/prompt", content=data)
    assert answer.status_code == 400 and "error" in answer.json()


def test_what_is_sound_runs_beside_what_is_not(client: TestClient) -> None:
    prompt = picture(color=5) | {"3": {"class_type": "SaveImage", "inputs": {"filename_prefix": "no"}}}
    answer = client.post("/prompt", json={"prompt": prompt})
    assert answer.status_code == 200 and list(answer.json()["node_errors"]) == ["3"]
    entry = over(client, answer.json()["prompt_id"])
    assert entry["prompt"][4] == ["2"] and list(entry["outputs"]) == ["2"]


def test_only_the_outputs_that_are_asked_for(client: TestClient) -> None:
    prompt = picture(color=6) | {"3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}
    body = {"prompt": prompt, "partial_execution_targets": ["3", "1"]}
    entry = over(client, client.post("/prompt", json=body).json()["prompt_id"])
    assert list(entry["outputs"]) == ["3"]
    (image,) = entry["outputs"]["3"]["images"]
    assert image["type"] == "temp" and client.get("/view", params=image).status_code == 200


def test_order_fronts_numbers_and_removal(client: TestClient, held: threading.Event) -> None:
    with client.websocket_connect(f"{SOCKET}order") as socket:

        def put(color: int, **more: Any) -> str:
            body = {"prompt": picture(color=color), "client_id": "order", **more}
            return str(client.post("/prompt", json=body).json()["prompt_id"])

        first, second, third = put(11), put(12), put(13)
        front = put(14, front=True)
        between = put(15, number=-0.5)
        waiting = client.get("/queue").json()
        assert waiting["queue_running"] == []
        order = [item[1] for item in waiting["queue_pending"]]
        assert order == [front, between, first, second, third]
        assert client.get("/prompt").json() == {"exec_info": {"queue_remaining": 6}}
        assert client.post("/queue", json={"delete": [second, "unknown"]}).status_code == 200
        held.set()
        heard(socket, third)
    done = list(client.get("/history").json())
    assert [id for id in done if id in order] == [front, between, first, third]
    assert client.get(f"/history/{second}").json() == {}


def test_the_queue_can_be_cleared(client: TestClient, held: threading.Event) -> None:
    ids = [client.post("/prompt", json={"prompt": picture(color=20 + n)}).json()["prompt_id"] for n in range(2)]
    assert client.post("/queue", json={"clear": True}).status_code == 200
    assert client.get("/queue").json()["queue_pending"] == []
    held.set()
    after = client.post("/prompt", json={"prompt": picture(color=22)}).json()["prompt_id"]
    over(client, after)
    assert not client.get("/history").json().keys() & set(ids)


def test_a_prompt_that_fails_leaves_the_next_alone(client: TestClient) -> None:
    prompt = picture(color=30)
    # a picture that is taken away between the check and the run
    inputs = client.app.state.server.settings.input_dir  # type: ignore[attr-defined]
    inputs.mkdir(parents=True, exist_ok=True)
    (inputs / "gone.png").write_bytes(b"no picture")
    prompt["1"] = {"class_type": "LoadImage", "inputs": {"image": "gone.png"}}
    with client.websocket_connect(f"{SOCKET}fails") as socket:
        ids = [
            client.post("/prompt", json={"prompt": one, "client_id": "fails"}).json()["prompt_id"]
            for one in (prompt, picture(color=31))
        ]
        messages = heard(socket, ids[0])
        after = heard(socket, ids[1])
    (error,) = [one["data"] for one in messages if one["type"] == "execution_error"]
    assert error["node_id"] == "1" and error["node_type"] == "LoadImage" and error["traceback"] == []
    assert "gone.png is not a picture" in error["exception_message"] and str(inputs) not in json.dumps(error)
    assert error["current_inputs"]["image"] == ["'gone.png'"]
    status = client.get(f"/history/{ids[0]}").json()[ids[0]]["status"]
    assert status["status_str"] == "error" and status["completed"] is False
    assert [one["type"] for one in after if one["type"].startswith("execution_s")] == [
        "execution_start",
        "execution_success",
    ]


def test_interruption_is_told_to_all(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    server = client.app.state.server  # type: ignore[attr-defined]
    engine, begun, release = server.work.ready(), threading.Event(), threading.Event()
    run = engine.run

    def slow(*args: Any, on_event: Any, **more: Any) -> Any:
        def hear(event: Any) -> None:
            on_event(event)
            if type(event).__name__ == "NodeStarted":
                begun.set()
                release.wait(PATIENCE)

        return run(*args, on_event=hear, **more)

    monkeypatch.setattr(engine, "run", slow)
    with client.websocket_connect(f"{SOCKET}own") as own, client.websocket_connect(f"{SOCKET}other") as other:
        prompt_id = client.post("/prompt", json={"prompt": picture(color=40), "client_id": "own"}).json()["prompt_id"]
        assert begun.wait(PATIENCE)
        assert [item[1] for item in client.get("/queue").json()["queue_running"]] == [prompt_id]
        assert client.post("/interrupt", json={"prompt_id": "another"}).status_code == 200
        assert not server.work.current.interrupted
        with client.websocket_connect(f"{SOCKET}own") as again:  # takes the place of the first
            assert again.receive_json()["data"]["sid"] == "own"
            assert again.receive_json()["type"] == "progress_state"
            assert again.receive_json()["data"]["node"] == "1"
            assert client.post("/interrupt").status_code == 200
            release.set()
            messages = heard(again, prompt_id)
        for messages_of in (messages, [other.receive_json() for _ in range(4)]):
            (stopped,) = [one["data"] for one in messages_of if one["type"] == "execution_interrupted"]
            assert stopped["prompt_id"] == prompt_id and stopped["node_type"] in ("EmptyImage", "SaveImage")
        assert own is not again
    status = client.get(f"/history/{prompt_id}").json()[prompt_id]["status"]
    assert status["status_str"] == "error" and status["messages"][-1][0] == "execution_interrupted"


def test_pictures_over_the_socket(client: TestClient) -> None:
    prompt = picture(color=0x0A0B0C, batch=2)
    prompt["2"] = {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}}
    with client.websocket_connect(f"{SOCKET}frames") as socket:
        body = {"prompt": prompt, "client_id": "frames"}
        messages = heard(socket, client.post("/prompt", json=body).json()["prompt_id"])
    frames = [one for one in messages if isinstance(one, bytes)]
    assert [struct.unpack(">II", frame[:8]) for frame in frames] == [(1, 2), (1, 2)]
    for frame in frames:
        shown = Image.open(BytesIO(frame[8:]))
        assert shown.format == "PNG" and shown.getpixel((0, 0)) == (10, 11, 12)


def test_previews_and_the_picture_of_the_built_in_model(client: TestClient, home: Path, tmp_path: Path) -> None:
    prompt: dict[str, Any] = {
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "pocket"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["4", 1], "text": "1girl, smile"}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["4", 1], "text": ""}},
        "8": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0], "seed": 7,
                "steps": 3, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
            },
        },
        "9": {"class_type": "VAEDecode", "inputs": {"samples": ["8", 0], "vae": ["4", 2]}},
        "10": {"class_type": "SaveImage", "inputs": {"images": ["9", 0], "filename_prefix": "drawn"}},
    }  # fmt: skip
    names = client.get("/object_info/CheckpointLoaderSimple").json()["CheckpointLoaderSimple"]["input"]["required"]
    prompt["4"]["inputs"]["ckpt_name"] = names["ckpt_name"][0][0]
    graph = {"nodes": [], "links": [], "version": 0.4, "extra": {"mine": True}}
    body = {"prompt": prompt, "client_id": "drawing", "extra_data": {"extra_pnginfo": {"workflow": graph}}}
    with client.websocket_connect(f"{SOCKET}drawing") as socket:
        flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
        socket.receive_json()
        socket.send_json(flags)
        assert socket.receive_json()["data"]["supports_preview_metadata"] is True
        prompt_id = client.post("/prompt", json=body).json()["prompt_id"]
        messages = heard(socket, prompt_id)
    steps = [one["data"] for one in messages if not isinstance(one, bytes) and one["type"] == "progress"]
    assert [one["value"] for one in steps if one["node"] == "8" and one["max"] == 3][-1] == 3
    frames = [one for one in messages if isinstance(one, bytes)]
    assert frames
    kind, length = struct.unpack(">II", frames[-1][:8])
    place = json.loads(frames[-1][8 : 8 + length])
    assert kind == 4 and place["node_id"] == "8" and place["prompt_id"] == prompt_id
    assert Image.open(BytesIO(frames[-1][8 + length :])).format == "JPEG"
    (image,) = client.get(f"/history/{prompt_id}").json()[prompt_id]["outputs"]["10"]["images"]
    drawn = Image.open(home / "output" / image["filename"])
    assert json.loads(drawn.info["workflow"]) == graph
    (plain,) = Engine(settings_in(tmp_path)).run(prompt, extra_pnginfo={"workflow": graph}).ui["10"]["images"]
    digests = {
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (home / "output" / image["filename"], tmp_path / "output" / plain["filename"])
    }
    assert len(digests) == 1


def test_tokens_are_not_kept(client: TestClient) -> None:
    extra = {"auth_token_comfy_org": "s3cret", "api_key_comfy_org": "s3cret", "comfy_usage_source": "test"}
    prompt_id = client.post("/prompt", json={"prompt": picture(50), "extra_data": extra}).json()["prompt_id"]
    entry = over(client, prompt_id)
    assert "s3cret" not in json.dumps(entry) and entry["prompt"][3]["comfy_usage_source"] == "test"


def test_an_id_of_the_client_counts_once(client: TestClient) -> None:
    body = {"prompt": picture(60), "prompt_id": "6b1f4e6c-0000-4000-8000-000000000001"}
    assert client.post("/prompt", json=body).json()["prompt_id"] == body["prompt_id"]
    over(client, str(body["prompt_id"]))
    again = client.post("/prompt", json=body)
    assert again.status_code == 400 and again.json()["error"]["type"] == "invalid_prompt_id"


def test_the_history_in_parts(client: TestClient) -> None:
    client.post("/history", json={"clear": True})
    ids = [client.post("/prompt", json={"prompt": picture(70 + n)}).json()["prompt_id"] for n in range(3)]
    over(client, ids[-1])
    assert list(client.get("/history").json()) == ids
    assert list(client.get("/history?max_items=2").json()) == ids[1:]
    assert list(client.get("/history?max_items=1&offset=1").json()) == ids[1:2]
    assert client.get("/history?max_items=0").json() == {}
    client.post("/history", json={"delete": [ids[1]]})
    assert list(client.get("/api/history").json()) == [ids[0], ids[2]]
    for bad in ({"delete": 3}, {"delete": [3]}, [1]):
        assert client.post("/history", json=bad).status_code == 400


def test_letting_go_of_memory(client: TestClient) -> None:
    engine = client.app.state.server.work.ready()  # type: ignore[attr-defined]
    over(client, client.post("/prompt", json={"prompt": picture(80)}).json()["prompt_id"])
    assert engine.results.count > 0
    assert client.post("/free", json={"unload_models": True, "free_memory": True}).status_code == 200
    over(client, client.post("/prompt", json={"prompt": picture(81)}).json()["prompt_id"])
    assert engine.results.count <= 2


def test_a_random_seed_is_drawn_as_the_prompt_is_taken_in(client: TestClient, home: Path) -> None:
    flow = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "hires-pocket.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "1girl"}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "4": {
            "class_type": "KSampler (Efficient)",
            "inputs": {
                "model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["3", 0],
                "seed": -1, "steps": 2, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
                "preview_method": "none", "vae_decode": "true", "optional_vae": ["1", 2],
            },
        },
        "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 5], "filename_prefix": "random"}},
    }  # fmt: skip
    seeds, shown = [], []
    for _ in range(2):
        answer = client.post("/prompt", json={"prompt": flow}).json()
        entry = over(client, answer["prompt_id"])
        assert entry["status"]["status_str"] == "success", entry
        drawn = entry["prompt"][2]["4"]["inputs"]["seed"]
        assert entry["outputs"]["4"]["text"] == [f"seed {drawn}"] and drawn >= 0
        (image,) = entry["outputs"]["5"]["images"]
        with Image.open(home / "output" / image["filename"]) as saved:
            assert json.loads(saved.text["prompt"])["4"]["inputs"]["seed"] == drawn  # type: ignore[attr-defined]
            shown.append(saved.tobytes())
        seeds.append(drawn)
    assert seeds[0] != seeds[1] and shown[0] != shown[1]
