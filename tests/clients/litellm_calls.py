"""Uses LiteLLM as its users do, and checks what it returns: ``litellm_calls.py BASE_URL KEY``.

It prints the name of each check that has passed.
"""

from __future__ import annotations

import asyncio
import base64
import io
import sys
import time
from collections.abc import Callable

import litellm

BASE_URL, KEY = sys.argv[1:3]
SERVER = {"api_base": BASE_URL, "api_key": KEY}
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAAD0lEQVR42mP4jwYYRrYAAID5/wGR6yAaAAAAAElFTkSuQmCC"
)
CHECKS: list[Callable[[], None]] = []


def check(one: Callable[[], None]) -> Callable[[], None]:
    CHECKS.append(one)
    return one


def is_png(text: str) -> bool:
    return base64.b64decode(text).startswith(b"\x89PNG")


@check
def images_are_generated() -> None:
    made = litellm.image_generation(
        model="openai/tiny-image", prompt="a red circle", n=2, size="32x32", extra_body={"seed": 5}, **SERVER
    )
    assert [is_png(image.b64_json) for image in made.data] == [True, True]
    aliased = litellm.image_generation(model="openai/gpt-image-1", prompt="x", quality="low", **SERVER)
    assert is_png(aliased.data[0].b64_json)


@check
def images_are_generated_without_blocking() -> None:
    async def both() -> list[bool]:
        calls = [litellm.aimage_generation(model="openai/dall-e-3", prompt="x", **SERVER) for _ in range(2)]
        return [is_png(made.data[0].b64_json) for made in await asyncio.gather(*calls)]

    assert asyncio.run(both()) == [True, True]


@check
def images_are_edited() -> None:
    image = io.BytesIO(PNG)
    image.name = "a.png"
    made = litellm.image_edit(image=image, prompt="a dog", model="openai/gpt-image-1", **SERVER)
    assert is_png(made.data[0].b64_json)


@check
def videos_are_made_by_both_providers() -> None:
    for provider in ("openai", "hosted_vllm"):
        video = litellm.video_generation(
            model=f"{provider}/sora-2", prompt="x", seconds="2", size="1280x720", **SERVER
        )
        while video.status in ("queued", "in_progress"):
            time.sleep(0.1)
            video = litellm.video_status(video_id=video.id, **SERVER)
        assert (video.status, video.progress) == ("completed", 100), video
        assert litellm.video_content(video_id=video.id, **SERVER)[4:8] == b"ftyp"
        listed = litellm.video_list(custom_llm_provider=provider, **SERVER)
        assert listed["data"][0]["status"] == "completed"


@check
def errors_have_their_classes() -> None:
    for fields, expected in (
        ({"n": 11}, litellm.BadRequestError), ({"model": "openai/gpt-5"}, litellm.NotFoundError),
        ({"api_key": "sk-wrong"}, litellm.AuthenticationError),
    ):  # fmt: skip
        try:
            litellm.image_generation(**{"model": "openai/gpt-image-1", "prompt": "x", **SERVER, **fields})
            raise AssertionError("not refused")
        except expected:
            pass


ONLY = sys.argv[3:]
for one in CHECKS:
    if ONLY and one.__name__ not in ONLY:
        continue
    one()
    print(one.__name__, flush=True)
