"""Uses OpenAI's SDK for Python as its users do, and checks what it returns: ``openai_sdk.py BASE_URL KEY``.

It runs with several versions of the SDK. It prints the name of each check that has passed.
"""

from __future__ import annotations

import asyncio
import base64
import io
import struct
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import openai
from openai import AsyncOpenAI, OpenAI

warnings.simplefilter("ignore", DeprecationWarning)  # videos and variations, which OpenAI itself no longer offers
BASE_URL, KEY = sys.argv[1:3]
#: Strict validation refuses every response that does not have the types of the SDK.
client = OpenAI(base_url=BASE_URL, api_key=KEY, _strict_response_validation=True, max_retries=0)
#: Sizes that version 2 of the SDK does not know are refused by its strict validation.
lenient = OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)
PNG = b"\x89PNG\r\n\x1a\n"
CHECKS: list[Callable[[], None]] = []


def check(one: Callable[[], None]) -> Callable[[], None]:
    CHECKS.append(one)
    return one


def png(pixel: bytes, side: int = 32, *, hole: bool = False) -> bytes:
    """Return a PNG of one colour; with a ``hole``, its left half is transparent."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    left = pixel + b"\0" if hole else pixel + b"\xff"
    row = b"\0" + left * (side // 2) + (pixel + b"\xff") * (side // 2)
    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    return PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * side)) + chunk(b"IEND", b"")


def size_of(b64: str | None) -> tuple[int, int]:
    data = base64.b64decode(b64 or "")
    assert data.startswith(PNG)
    width, height = struct.unpack(">II", data[16:24])
    return int(width), int(height)


@contextmanager
def refused(kind: type[openai.APIError], **expected: str | None) -> Iterator[None]:
    """Expect an error of this class with these attributes."""
    found: dict[str, str | None] = {}
    try:
        yield
    except kind as exc:
        found = {name: getattr(exc, name) for name in expected}
    assert found == expected, found


@check
def models_are_listed() -> None:
    names = [model.id for model in client.models.list()]
    assert "tiny-image" in names
    assert client.models.retrieve("gpt-image-2").id == "gpt-image-2"
    assert client.models.retrieve("tiny-image").owned_by == "framemill"


@check
def a_real_model_generates() -> None:
    made = lenient.images.generate(
        model="tiny-image", prompt="a red circle", n=2, size="64x32", extra_body={"seed": 5, "steps": 3}  # type: ignore
    )
    assert [size_of(image.b64_json) for image in made.data or []] == [(64, 32)] * 2
    assert made.data[0].seed == 5  # type: ignore


@check
def names_that_clients_cannot_change_are_aliases() -> None:
    made = client.images.generate(
        model="gpt-image-1", prompt="a red circle", size="1024x1024", quality="high", background="opaque",
        output_format="png", moderation="low", user="me",
    )  # fmt: skip
    assert size_of(made.data[0].b64_json) == (1024, 1024)  # type: ignore
    assert (made.size, made.quality, made.usage.total_tokens) == ("1024x1024", "high", 0)  # type: ignore


@check
def a_url_can_be_asked_for() -> None:
    made = client.images.generate(model="dall-e-3", prompt="x", size="1024x1024", response_format="url")
    content = client.with_options(base_url=made.data[0].url).get("", cast_to=object)  # type: ignore
    assert content is not None


@check
def an_image_is_edited() -> None:
    made = lenient.images.edit(
        model="tiny-image", image=png(b"\xff\0\0"), prompt="a dog", extra_body={"strength": 0.5, "steps": 4, "seed": 1}
    )
    assert size_of(made.data[0].b64_json) == (32, 32)  # type: ignore
    masked = client.images.edit(
        model="gpt-image-1", image=("a.png", png(b"\xff\0\0", 1024), "image/png"), prompt="a dog", size="1024x1024",
        mask=io.BytesIO(png(b"\0\0\0", 1024, hole=True)), n=2,
    )  # fmt: skip
    assert len(masked.data or []) == 2


@check
def several_images_of_a_model_that_takes_one_are_refused() -> None:
    with refused(openai.BadRequestError, param="image[]"):
        client.images.edit(model="tiny-image", image=[png(b"\xff\0\0"), png(b"\0\xff\0")], prompt="a dog")


@check
def an_image_is_varied() -> None:
    made = lenient.images.create_variation(model="dall-e-2", image=png(b"\xff\0\0", 64), n=1)
    assert size_of(made.data[0].b64_json)[0] > 0  # type: ignore


@check
def a_stream_has_previews() -> None:
    events = list(
        client.images.generate(
            model="gpt-image-1", prompt="a red circle", size="1024x1024", stream=True, partial_images=2,
            extra_body={"steps": 60},
        )
    )  # fmt: skip
    assert [event.type for event in events][-1] == "image_generation.completed"
    partial = [event for event in events if event.type == "image_generation.partial_image"]
    assert [event.partial_image_index for event in partial] == list(range(len(partial)))
    assert 1 <= len(partial) <= 2
    assert all(base64.b64decode(event.b64_json) for event in events)
    edited = client.images.edit(
        model="gpt-image-1", image=png(b"\xff\0\0"), prompt="x", size="1024x1024", stream=True, partial_images=1
    )
    assert [event.type for event in edited][-1] == "image_edit.completed"


@check
def errors_name_param_and_rule() -> None:
    for fields, param in (({"n": 11}, "n"), ({"size": "huge"}, "size"), ({"background": "transparent"}, "background")):
        with refused(openai.BadRequestError, param=param, type="invalid_request_error", code="invalid_value"):
            client.images.generate(prompt="x", **fields)  # type: ignore
    with refused(openai.NotFoundError, param="model", code="model_not_found"):
        client.images.generate(prompt="x", model="gpt-5")


@check
def a_failed_job_is_not_tried_again() -> None:
    patient = client.with_options(max_retries=3)
    with refused(openai.InternalServerError, code="model_load_failed"):
        patient.images.generate(prompt="x", model="broken")
    with refused(openai.APIError, code="model_load_failed"):
        list(patient.images.generate(prompt="x", model="broken", stream=True))


@check
def a_video_is_made_and_downloaded() -> None:
    video = client.videos.create_and_poll(
        model="sora-2", prompt="a star", size="1280x720", seconds="4", poll_interval_ms=100, extra_body={"seed": 5}
    )
    assert (video.status, video.progress, video.size, video.error) == ("completed", 100, "1280x720", None)
    assert client.videos.download_content(video.id).read()[4:8] == b"ftyp"
    assert client.videos.download_content(video.id, variant="thumbnail").read()[:4] == b"RIFF"
    assert client.videos.download_content(video.id, variant="spritesheet").read()[:2] == b"\xff\xd8"
    remixed = client.videos.remix(video.id, prompt="a moon")
    assert (remixed.remixed_from_video_id, remixed.prompt) == (video.id, "a moon")
    assert client.videos.poll(remixed.id).status == "completed"
    assert [client.videos.delete(one).deleted for one in (video.id, remixed.id)] == [True, True]


@check
def a_real_video_begins_with_an_image() -> None:
    video = lenient.videos.create_and_poll(model="tiny-video", prompt="a star", input_reference=png(b"\xff\0\0"))
    assert (video.status, video.size) == ("completed", "32x32"), video


@check
def a_real_video_is_made_of_a_video() -> None:
    first = lenient.videos.create_and_poll(model="tiny-video", prompt="a star", seconds="1")  # type: ignore
    film = client.videos.download_content(first.id).read()
    again = lenient.videos.create_and_poll(
        model="tiny-changes", prompt="a moon", input_reference=("first.mp4", film, "video/mp4")
    )
    assert (again.status, again.size, again.seconds) == (first.status, first.size, first.seconds), again
    ends = {"last_image": "data:image/png;base64," + base64.b64encode(png(b"\0\xff\0")).decode()}
    both = lenient.videos.create_and_poll(
        model="tiny-changes", prompt="a moon", input_reference=png(b"\xff\0\0"), extra_body=ends
    )
    assert (both.status, both.size) == ("completed", "32x32"), both


@check
def a_failed_video_is_no_exception() -> None:
    video = lenient.videos.create_and_poll(model="broken-video", prompt="a star")
    assert (video.status, video.error.code) == ("failed", "model_load_failed")  # type: ignore


@check
def videos_are_listed_stopped_and_deleted() -> None:
    long = {"steps": 100_000}
    endless = [
        client.videos.create(prompt="x", size="1280x720", model="sora-2", extra_body=long) for _ in range(3)
    ]
    while (video := client.videos.retrieve(endless[0].id)).progress == 0 and video.status != "in_progress":
        time.sleep(0.05)
    with refused(openai.BadRequestError, code="video_not_ready"):
        client.videos.download_content(video.id)
    newest = [one.id for one in lenient.videos.list(limit=2)]
    assert newest[:3] == [one.id for one in reversed(endless)]
    assert [one.id for one in lenient.videos.list(limit=2, order="asc")] == newest[::-1]
    for one in endless:
        assert client.videos.delete(one.id).deleted
    with refused(openai.NotFoundError, code="job_not_found"):
        while client.videos.retrieve(endless[0].id).status == "failed":  # until its worker has stopped
            time.sleep(0.05)
    with refused(openai.BadRequestError, param="seconds"):
        client.videos.create(prompt="x", seconds="-4")  # type: ignore


@check
def a_wrong_key_is_refused() -> None:
    with refused(openai.AuthenticationError, code="invalid_api_key"):
        OpenAI(base_url=BASE_URL, api_key="sk-wrong").images.generate(prompt="x")


@check
def the_asynchronous_client_works() -> None:
    async def calls() -> None:
        async with AsyncOpenAI(base_url=BASE_URL, api_key=KEY, _strict_response_validation=True) as one:
            both = await asyncio.gather(
                *(one.images.generate(prompt="x", model="gpt-image-1", size="1024x1024") for _ in range(2))
            )
            assert [len(made.data or []) for made in both] == [1, 1]
            assert both[0].data[0].seed != both[1].data[0].seed  # type: ignore
            stream = await one.images.generate(prompt="x", model="gpt-image-1", size="1024x1024", stream=True)
            assert [event.type async for event in stream] == ["image_generation.completed"]
            assert "tiny-image" in [model.id async for model in one.models.list()]

    asyncio.run(calls())


@check
def a_request_outlives_a_restart_of_the_server() -> None:
    made = lenient.with_options(max_retries=8).images.generate(
        model="tiny-image", prompt="a restart", extra_body={"steps": 800}
    )
    assert len(made.data or []) == 1


ONLY = sys.argv[3:]
for one in CHECKS:
    if ONLY and one.__name__ not in ONLY:
        continue
    one()
    print(one.__name__, flush=True)
