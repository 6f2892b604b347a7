"""The public client `webuiapi` against a running server: what it gets is looked at, not only that it gets something."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import uvicorn
import webuiapi
from PIL import Image
from tests.server.conftest import decoded, settings_in, shades, square_mask

from hires.recipes.infotext import request_from
from hires.server.app import create_app
from hires.server.guard import Rules
from hires.server.serving import EndingServer, listen

USER, PASSWORD = "anna", "geheim"
PATIENCE = 120
SMALL: dict[str, Any] = {"prompt": "1girl, pink hair, smile", "steps": 2, "width": 64, "height": 64, "seed": 7}


@dataclass
class Running:
    """A server on a port of its own, and its client."""

    port: int
    api: Any
    home: Path

    def url(self, route: str) -> str:
        return f"http://127.0.0.1:{self.port}{route}"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("running")
    (home / "styles.csv").write_text('name,prompt,negative_prompt\nsunny,"{prompt}, sun",rain\n')
    app = create_app(
        settings_in(home), rules=Rules(passwords=(f"{USER}:{PASSWORD}",)), options_file=home / "options.json"
    )
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    server = EndingServer(uvicorn.Config(app, log_level="error"), app.state.server.work.close)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield Running(port, webuiapi.WebUIApi(port=port, username=USER, password=PASSWORD), home)
    server.handle_exit(2, None)
    thread.join(PATIENCE)
    assert not thread.is_alive()


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB")).astype(int)


def test_without_the_password_there_is_nothing(running: Running) -> None:
    assert requests.get(running.url("/sdapi/v1/options"), timeout=PATIENCE).status_code == 401
    stranger = webuiapi.WebUIApi(port=running.port, username=USER, password="guess")
    with pytest.raises(RuntimeError, match="401"):
        stranger.txt2img(**SMALL)


def test_txt2img_with_hires_fix(running: Running) -> None:
    one = running.api.txt2img(**SMALL, negative_prompt="blurry", styles=["sunny"])
    assert one.image.size == (64, 64) and one.info["seed"] == 7 and one.info["sampler_name"] == "Euler a"
    assert one.info["prompt"] == "1girl, pink hair, smile, sun" and one.info["negative_prompt"] == "blurry, rain"
    assert one.image.info["parameters"] == one.info["infotexts"][0] and one.parameters["steps"] == 2
    assert pixels(one.image).std() > 5
    request = request_from(one.info["infotexts"][0])
    assert (request.seed, request.steps, request.sampler, request.width) == (7, 2, "Euler a", 64)
    two = running.api.txt2img(
        **SMALL,
        enable_hr=True,
        hr_scale=1.5,
        hr_upscaler=webuiapi.HiResUpscaler.Lanczos,
        denoising_strength=0.4,
        hr_second_pass_steps=3,
        batch_size=2,
    )
    assert [picture.size for picture in two.images] == [(96, 96), (96, 96)] and two.info["all_seeds"] == [7, 8]
    extra = two.info["extra_generation_params"]
    assert (extra["Hires upscale"], extra["Hires upscaler"], extra["Hires steps"]) == ("1.5", "Lanczos", "3")
    assert two.info["denoising_strength"] == 0.4
    again = running.api.txt2img(**SMALL, negative_prompt="blurry", styles=["sunny"])
    assert np.array_equal(pixels(one.image), pixels(again.image))


def test_img2img_and_inpainting(running: Running) -> None:
    little = running.api.img2img(images=[shades()], denoising_strength=0.1, **SMALL)
    much = running.api.img2img(images=[shades()], denoising_strength=0.9, **SMALL)
    moved = [np.abs(pixels(one.image) - pixels(shades())).mean() for one in (little, much)]
    assert moved[0] < moved[1] and much.info["denoising_strength"] == 0.9
    larger = running.api.img2img(images=[shades()], resize_mode=1, **{**SMALL, "width": 96})
    assert larger.image.size == (96, 64)
    for only_masked in (True, False):
        painted = running.api.img2img(
            images=[shades()],
            mask_image=square_mask(),
            mask_blur=2,
            inpainting_fill=1,
            inpaint_full_res=only_masked,
            denoising_strength=0.9,
            **SMALL,
        )
        outside = np.asarray(square_mask(edge=4)) == 0
        assert np.array_equal(pixels(painted.image)[outside], pixels(shades())[outside])
        assert np.abs(pixels(painted.image)[24:40, 24:40] - pixels(shades())[24:40, 24:40]).mean() > 2
        assert painted.info["extra_generation_params"]["Mask blur"] == "2"


def test_extras_single_and_batch(running: Running) -> None:
    single = running.api.extra_single_image(shades(), upscaler_1=webuiapi.Upscaler.Nearest, upscaling_resize=2)
    assert np.array_equal(pixels(single.image)[::2, ::2], pixels(shades())) and "Nearest" in single.info
    batch = running.api.extra_batch_images([shades(), square_mask()], upscaler_1="Lanczos", upscaling_resize=1.5)
    assert [picture.size for picture in batch.images] == [(96, 96), (96, 96)]


def test_png_info_reads_back_what_was_drawn(running: Running) -> None:
    drawn = running.api.txt2img(**SMALL)
    found = running.api.png_info(drawn.image)
    assert found.info == drawn.info["infotexts"][0]
    assert found.parameters["Seed"] == "7" and found.parameters["Size-1"] == "64"


def test_interrogate_is_refused_in_words(running: Running) -> None:
    with pytest.raises(RuntimeError) as error:
        running.api.interrogate(shades())
    status, text = error.value.args
    assert status == 400 and "models/BLIP" in text and str(running.home) not in text
    with pytest.raises(RuntimeError, match="Model not found"):
        running.api.interrogate(shades(), model="no such")


def test_lists_are_answered(running: Running) -> None:
    api = running.api
    assert "Euler a" in api.util_get_sampler_names() and "karras" in api.util_get_scheduler_names()
    assert [one["name"] for one in api.get_upscalers()][:3] == ["None", "Lanczos", "Nearest"]
    assert len(api.get_latent_upscale_modes()) == 6 and len(api.get_face_restorers()) == 2
    assert api.get_sd_vae() == [] == api.get_hypernetworks() == api.get_realesrgan_models()
    assert [one["name"] for one in api.get_loras()] == ["hires-pocket-woodcut"]
    assert api.get_prompt_styles() == [{"name": "sunny", "prompt": "{prompt}, sun", "negative_prompt": "rain"}]
    embeddings = api.get_embeddings()
    assert list(embeddings["loaded"]) == ["hires-pocket-mika"] and embeddings["skipped"] == {}
    assert "ram" in api.get_memory()
    assert api.refresh_checkpoints() is None and isinstance(api.get_cmd_flags(), dict)
    assert "x/y/z plot" in api.get_scripts()["txt2img"]
    assert "detail" in api.get_artists(), "what is no more is told in JSON"


def test_options_are_set_and_told(running: Running) -> None:
    api = running.api
    assert api.set_options({"CLIP_stop_at_last_layers": 2}) is None
    assert api.get_options()["CLIP_stop_at_last_layers"] == 2
    assert api.txt2img(**SMALL).info["clip_skip"] == 2
    assert api.txt2img(**SMALL, override_settings={"CLIP_stop_at_last_layers": 1}).info["clip_skip"] == 1
    api.set_options({"CLIP_stop_at_last_layers": 1})
    api.util_set_model("hires-pocket")
    assert api.util_get_current_model() in api.util_get_model_names()
    assert "detail" in api.set_options({"no such": 1})


def test_scripts(running: Running) -> None:
    matrix = running.api.txt2img(
        **{**SMALL, "prompt": "1girl|smile"},
        script_name="Prompt matrix",
        script_args=[False, False, "positive", "comma", 0],
    )
    assert len(matrix.images) == 3 and matrix.info["index_of_first_image"] == 1
    larger = running.api.img2img(
        images=[shades()], script_name="SD upscale", script_args=["", 16, "Lanczos", 2], **SMALL
    )
    assert larger.image.size == (128, 128)
    tiled = {
        "Tiled Diffusion": {"args": [True, "MultiDiffusion", False, True, 0, 0, 16, 16, 4, 4]},
        "Tiled VAE": {"args": [True]},
    }
    drawn = running.api.txt2img(**{**SMALL, "width": 192}, alwayson_scripts=tiled)
    assert drawn.image.size == (192, 64) and "Tiled Diffusion" in drawn.info["infotexts"][0]
    with pytest.raises(RuntimeError, match="not found"):
        running.api.txt2img(**SMALL, script_name="no such")


def test_controlnet_listing(running: Running) -> None:
    interface = webuiapi.ControlNetInterface(running.api)
    assert [name.split(" ")[0] for name in interface.model_list()] == ["hires-pocket-tile"]
    unit = webuiapi.ControlNetUnit(image=shades(), model="none there")
    with pytest.raises(RuntimeError, match="none there"):
        running.api.txt2img(**SMALL, controlnet_units=[unit], alwayson_scripts={})  # its default would keep the unit


def until(running: Running, job: Future[Any], ready: Any) -> dict[str, Any]:
    """What is told of progress once it is ready, while the job runs."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        told = running.api.get_progress()
        if ready(told):
            return told
        assert not job.done(), job.result()
        time.sleep(0.1)  # without it the work would hardly get its turn in this process
    raise AssertionError("it never came to that")


LONG: dict[str, Any] = {**SMALL, "steps": 2000}


def test_progress_with_a_preview_then_an_interruption(running: Running) -> None:
    running.api.util_wait_for_ready(0.05)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(running.api.txt2img, **LONG)
        told = until(
            running, job, lambda told: told["current_image"] is not None and told["state"]["sampling_step"] > 4
        )
        assert 0 < told["progress"] < 1 and told["eta_relative"] > 0
        assert told["state"]["job_count"] == 1 and told["state"]["sampling_steps"] == 2000
        preview = pixels(decoded(told["current_image"]))
        assert preview.shape == (16, 16, 3) and preview.std() > 1
        assert running.api.interrupt() == {}
        stopped = job.result(PATIENCE)
    assert stopped.info["interrupted"] is True and stopped.image.size == (64, 64)
    assert (
        stopped.info["infotexts"][0] == stopped.image.info["parameters"]
        and "Steps: 2000" in stopped.info["infotexts"][0]
    )
    assert not list(running.home.rglob("interrupted*"))
    assert running.api.txt2img(**SMALL).info.get("interrupted") is None


def test_a_skipped_batch_leaves_the_next(running: Running) -> None:
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(running.api.txt2img, **{**SMALL, "steps": 40, "n_iter": 2})
        until(running, job, lambda told: told["state"]["sampling_step"] > 2)
        assert running.api.skip() is None
        made = job.result(PATIENCE)
    assert len(made.images) == 2 and made.info["all_seeds"] == [7, 8]
    assert not np.array_equal(pixels(made.images[0]), pixels(made.images[1]))


def test_requests_queue_and_lists_are_answered_meanwhile(running: Running) -> None:
    seeds = range(20, 24)
    with ThreadPoolExecutor(6) as pool:
        long = pool.submit(running.api.txt2img, **LONG)
        until(running, long, lambda told: told["state"]["sampling_step"] > 0)
        jobs = [pool.submit(running.api.txt2img, **{**SMALL, "seed": seed}) for seed in seeds]
        bad = pool.submit(running.api.txt2img, **{**SMALL, "sampler_name": "no such"})
        assert running.api.get_samplers() and running.api.get_options()
        auth = (USER, PASSWORD)
        until(running, long, lambda told: told["state"]["waiting"] == 5)
        told = requests.get(running.url("/internal/pending-tasks"), auth=auth, timeout=PATIENCE).json()
        assert told["size"] == len(set(told["tasks"])) == 5
        asked = {"id_task": told["tasks"][1]}
        state = requests.post(running.url("/internal/progress"), json=asked, auth=auth, timeout=PATIENCE).json()
        assert state["queued"] and not state["active"] and state["textinfo"] == "In queue: 2/5"
        running.api.interrupt()
        assert long.result(PATIENCE).info["interrupted"]
        assert [job.result(PATIENCE).info["seed"] for job in jobs] == list(seeds)
        assert "Sampler not found" in str(bad.exception(PATIENCE))
    running.api.util_wait_for_ready(0.05)
    state = requests.post(running.url("/internal/progress"), json=asked, auth=auth, timeout=PATIENCE).json()
    assert state["completed"] and state["textinfo"] == "Waiting..."


def test_of_an_interrupted_grid_the_finished_cells_come_back(running: Running) -> None:
    plot = {"script_name": "x/y/z plot", "script_args": [4, "1,2,2000", [], 0, "", [], 0, "", []]}
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(running.api.txt2img, **SMALL, **plot)
        told = until(running, job, lambda told: told["state"]["job_no"] == 2 and told["state"]["sampling_step"] > 1)
        assert told["state"]["job_count"] == 3 and told["progress"] > 0.6
        running.api.interrupt()
        made = job.result(PATIENCE)
    assert made.info["interrupted"] and [picture.size for picture in made.images] == [(64, 64)] * 2
    assert ["Steps: 1," in text for text in made.info["infotexts"]] == [True, False]
