"""From LightX2V's fields to those of the native API."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

from app.attachments import UNSTORED, Pictures
from app.extensions import models, settings
from app.fields import load_all
from app.problems import Problems
from app.protocols.lightx2v import schemas, speakers, uploading
from app.protocols.lightx2v.paths import is_content, listed, output_path, read_file
from jobs.errors import InvalidRequest, ModelNotFound, Problem
from jobs.models.spec import Kind, ModelSpec
from jobs.requests.inputs import INPUTS
from jobs.requests.size import default_area, shape_of
from jobs.suggestions import misspelt

#: LightX2V's name of a field → the native one.
NATIVE_NAMES = {"task_id": "id", "infer_steps": "steps", "target_video_length": "frames", "target_fps": "fps",
                "i2i_denoise_strength": "strength"}  # fmt: skip
#: Fields with the same name in both.
_SAME = ("prompt", "negative_prompt", "seed", "model", "guidance_scale", "width", "height", "slot", "priority",
         "start_within_s", "max_run_s", "retention", "steps", "frames", "fps", "strength")  # fmt: skip
#: Fields that stand for native ones of other names.
_NATIVE_PARTS = {"image_path": ("image", "images"), "image_file": ("image",), "image_mask_path": ("mask",),
                 "last_frame_path": ("last_image",), "last_frame_file": ("last_image",), "video_path": ("video",),
                 "audio_path": ("audio",), "audio_file": ("audio",), speakers.FIELD: ("audio",),
                 "lora_name": ("loras",), "lora_strength": ("loras",), "target_shape": ("width", "height"),
                 "aspect_ratio": ("width", "height")}  # fmt: skip
#: Native input → the fields that it may come in, of which the first that was sent counts.
_INPUTS = {"image": ("image_file", "image_path", "image"), "mask": ("image_mask_path",),
           "last_image": ("last_frame_file", "last_frame_path"), "video": ("video_path",),
           "audio": (speakers.AUDIO, "audio_file", "audio_path")}  # fmt: skip
#: Fields without effect that the list of tasks shows, with the value that it shows otherwise.
SHOWN_AGAIN: dict[str, Any] = {"use_prompt_enhancer": False, "num_fragments": 1, "video_duration": None}
#: Longest link or path that the list shows, characters.
MAX_SHOWN_CHARS = 2000
#: Seed where the client sends none: in forms, and in profile ``single``.
DEFAULT_SEED = 42


@dataclass(frozen=True)
class Task:
    """A task with the native API's field names."""

    values: dict[str, Any]
    pictures: Pictures
    #: The client's path for the output; '' for none.
    path: str
    warnings: list[str]
    #: Native field name → the name that the client sent.
    client_names: Mapping[str, str]
    #: Fields that the list of tasks shows as they were sent.
    sent: Mapping[str, Any]
    #: What is wrong so far, with the names that the client sent.
    problems: Problems

    @property
    def refused(self) -> set[str]:
        """The native names of the fields that are wrong so far."""
        names = {NATIVE_NAMES.get(name, name) for name in self.problems.fields}
        return names | {native for name in self.problems.fields for native in _NATIVE_PARTS.get(name, ())}

    def renamed(self, exc: InvalidRequest) -> InvalidRequest:
        """Return the error with the field names that the client sent."""
        return InvalidRequest(*(self._renamed(problem) for problem in exc.problems))

    def _renamed(self, problem: Problem) -> Problem:
        root = problem.field.partition("[")[0]
        name = self.client_names.get(problem.field) or self.client_names.get(root, problem.field)
        if name in ("target_shape", "aspect_ratio") and problem.field in ("width", "height"):
            # One field has both sides.
            rule = problem.rule.removeprefix("must be ")
            return replace(problem, field=name, rule=f"must give a {problem.field} {rule}")
        return replace(problem, field=name)


def map_task(body: Mapping[str, Any], *, video: bool, form: bool, uploads: bool = False) -> Task:
    """Check and translate a task.

    Args:
        body: fields of a JSON body or a form; an upload is bytes under ``image_file``.
        video: whether the task is a video, else an image.
        form: whether it came by one of the ``/form`` routes, which set a seed.
        uploads: whether its output may be uploaded to a link.

    Returns:
        The task, with the problems of its fields.
    """
    refused = {name: rule for name, rule in schemas.REFUSED.items() if not (uploads and name == uploading.FIELD)}
    values, warnings, problems = _checked(body, refused)
    if uploads:
        with problems.collected():
            uploading.check_link(body)
    with problems.collected():
        audio, ignored = speakers.sound_of(body)
        body, warnings = {**body, speakers.AUDIO: audio}, [*warnings, *ignored]
    native = {name: values[name] for name in _SAME if name in values}
    native |= {name: values[field] for field, name in NATIVE_NAMES.items() if field in values}
    pictures, input_names = _pictures(body, native, problems)
    image_field = input_names["image"]
    # Wrong inputs are inputs, too: they decide about the kind.
    native |= {name: UNSTORED for name, field in input_names.items() if name != "mask" and field in problems.fields}
    inputs = native.keys() & INPUTS.keys()
    # The suffixes of the paths are those of the formats.
    native |= {"kind": _kind(video, inputs), "output_format": "mp4" if video else "png"}
    if "seed" not in native and (form or settings().lightx2v.profile == "single"):
        native["seed"] = DEFAULT_SEED
    if values.get("use_prompt_enhancer") and settings().prompts.enhancer:
        native["enhance_prompt"] = True
    if lora := values.get("lora_name", "").strip():
        native["loras"] = [{"name": lora, "weight": values.get("lora_strength")}]
    client_names = {name: field for field, name in NATIVE_NAMES.items() if field in values}
    client_names |= input_names
    client_names |= {
        "images": image_field,
        "loras[0].name": "lora_name",
        "loras[0].weight": "lora_strength",
    }
    size = None
    with problems.collected():
        size = _size(values, native)
    if size:
        native |= dict(zip(("width", "height"), size, strict=True))
        source = "target_shape" if values.get("target_shape") else "aspect_ratio"
        client_names |= {"width": source, "height": source}
    if "image" in pictures.contents and native.keys() >= {"width", "height"}:
        native["resize"] = "crop"  # as the original does; without a size, the output has the shape of the image
    requested_path = values.get("save_result_path") or values.get("save_video_path") or ""
    path, warning = "", None
    with problems.collected():
        path, warning = output_path(requested_path, ".mp4" if video else ".png")
    warnings = [*warnings, warning] if warning else warnings
    return Task(native, pictures, path, warnings, client_names, _sent(values, body.get(image_field)), problems)


def _sent(values: Mapping[str, Any], image: Any) -> dict[str, Any]:
    """Return the fields that the list of tasks shows as they were sent; the content of an image is none of them."""
    sent = {name: values[name] for name, neutral in SHOWN_AGAIN.items() if values.get(name, neutral) != neutral}
    if isinstance(image, str) and len(image) <= MAX_SHOWN_CHARS and not is_content(image):
        sent["image_path"] = image.strip()
    return sent


def _checked(
    body: Mapping[str, Any], refused: Mapping[str, str]
) -> tuple[dict[str, Any], list[str], Problems]:  # fmt: skip
    """Return the fields that have a value, warnings about those without effect, and what is wrong."""
    texts = {name: value for name, value in body.items() if not isinstance(value, bytes)}
    values, unknown, wrong = load_all(schemas.TASK, texts)
    values = {name: value for name, value in values.items() if value is not None}
    problems = Problems(wrong)
    problems.add(Problem(name, rule) for name, rule in refused.items() if body.get(name) or values.get(name))
    warnings = [f"unknown field {name!r} was ignored{_hint(name)}" for name in unknown]
    warnings += [
        f"{name} has no effect here"
        for name, neutral in schemas.IGNORED.items()
        if values.get(name, neutral) not in (neutral, "")
        and not (name == "use_prompt_enhancer" and settings().prompts.enhancer)
    ]
    return values, warnings, problems


def _hint(name: str) -> str:
    """Return the end of a warning about an unknown field that may be misspelt."""
    match = misspelt(name, schemas.TASK.fields)
    return f"; did you mean {match}?" if match else ""


def _pictures(body: Mapping[str, Any], native: dict[str, Any], problems: Problems) -> tuple[Pictures, dict[str, str]]:
    """Return the inputs, which are put into ``native``, and the names of the fields that they came in."""
    names = {name: next((one for one in fields if body.get(one)), _path_of(fields)) for name, fields in _INPUTS.items()}
    pictures = Pictures(may_be_animated=True)
    for name, field in names.items():
        with problems.collected():
            files = _files(body.get(field), field)
            for file in files:
                pictures.add(native, name if len(files) == 1 else "images", file)
    return pictures, names


def _path_of(fields: tuple[str, ...]) -> str:
    """Return the field that stands for an input that was not sent."""
    return next(field for field in fields if field.endswith("_path"))


def _files(value: Any, field: str) -> list[str | bytes]:
    """Return the files of a field. Raises: InvalidRequest."""
    if isinstance(value, str):
        texts = listed(value)
        if len(texts) > 1 and field != "image_path":
            raise InvalidRequest(Problem(field, "must be one image, not a list"))
        return [read_file(text, settings(), field) for text in texts]
    return [value] if isinstance(value, bytes) and value else []  # the types of others are refused


def _kind(video: bool, inputs: Set[str]) -> Kind:
    if video and "video" in inputs:
        return Kind.VIDEO2VIDEO
    if video:
        return Kind.IMG2VIDEO if inputs & {"image", "last_image"} else Kind.TEXT2VIDEO
    if "images" in inputs:
        return Kind.EDIT
    if "mask" in inputs:
        return Kind.INPAINT
    return Kind.IMG2IMG if "image" in inputs else Kind.TEXT2IMG


def _size(values: Mapping[str, Any], native: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return width and height by ``target_shape`` or ``aspect_ratio``, in pixels. Raises: InvalidRequest."""
    if shape := values.get("target_shape"):
        if len(shape) != 2:
            raise InvalidRequest(Problem("target_shape", "must be height and width, pixels", shape))
        return shape[1], shape[0]
    text = values.get("aspect_ratio", "").strip()
    if not text:
        return None
    ratio = shape_of(text, "aspect_ratio")
    spec = _spec(native)
    return default_area(spec, ratio) if spec else None


def _spec(native: Mapping[str, Any]) -> ModelSpec | None:
    """Return the model that the task will use; None if the task will be refused for its model."""
    registry = models()
    try:
        return registry.get(native["model"]) if "model" in native else registry.default_for(native["kind"])
    except ModelNotFound:
        return None
