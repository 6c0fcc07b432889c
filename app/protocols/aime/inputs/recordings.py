"""Sounds and videos of requests: measured, checked and converted with PyAV."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import av
from av.filter import Graph

from app.protocols.aime.endpoints.spec import Input
from app.protocols.aime.inputs.images import fit_size, fit_word
from app.protocols.aime.inputs.values import Refused, fit_number

#: Format → codecs of sound and picture that it is written with.
_CODECS = {
    "wav": ("pcm_s16le", ""), "mp3": ("libmp3lame", ""), "ogg": ("libvorbis", ""), "flac": ("flac", ""),
    "webm": ("libopus", "libvpx-vp9"), "mp4": ("aac", "libx264"), "mkv": ("aac", "libx264"), "avi": ("mp3", "mpeg4"),
    "mov": ("aac", "libx264"),
}  # fmt: skip
_PCM = {8: "pcm_u8", 16: "pcm_s16le", 32: "pcm_s32le", 64: "pcm_f64le"}
_CONTAINERS = {"mkv": "matroska"}
#: Rates that Opus has; others are refused by it.
_OPUS_RATES = (48000, 24000, 16000, 12000, 8000)


@dataclass
class _Plan:
    """How a recording has to be: what it has where nothing has to change."""

    format: str
    changes: bool = False
    rate: int = 0
    channels: int = 0
    depth: int = 0
    bit_rate: int = 0
    duration_s: float | None = None
    size: tuple[int, int] = (0, 0)
    pixels: str = ""


def convert(spec: Input, data: bytes, declared: str, *, formats: tuple[str, ...], max_px: int) -> tuple[bytes, str]:
    """A sound or a video as its parameter wants it; the very bytes when nothing has to change.

    Args:
        spec: the parameter.
        data: the file.
        declared: the format that the caller names; tells apart what one container stands for.
        formats: those the server takes at all; empty: all it knows.
        max_px: most pixels of a frame.

    Raises:
        Refused: it is damaged, or not what is allowed and not to be converted.
    """
    try:
        with av.open(io.BytesIO(data), "r") as source:
            plan = _plan(spec, source, declared, formats, max_px)
            if not plan.changes:
                return data, plan.format
            return _written(spec, source, plan), plan.format
    except Refused:
        raise
    except Exception:  # damaged files make FFmpeg raise many types; the file is to blame for each
        raise Refused(f"is damaged, or of an unknown {spec.type} format") from None


def _plan(spec: Input, source: Any, declared: str, formats: tuple[str, ...], max_px: int) -> _Plan:
    kind = _format(source.format.name, declared)
    if formats and kind not in formats:
        raise Refused(f"must be {', '.join(formats)}, not {kind}")
    sound = next(iter(source.streams.audio), None)
    film = next(iter(source.streams.video), None)
    if (film if spec.type == "video" else sound) is None:
        raise Refused(f"has no {'pictures' if spec.type == 'video' else 'sound'}")
    rules, plan = spec.attributes, _Plan(kind)

    def fitted(name: str, value: Any) -> Any:
        found = fit_number(rules[name], value, f"{name} ") if name in rules and value else value
        plan.changes |= found != value
        return found

    plan.format = fit_word(rules.get("format"), kind, "format ")
    plan.changes |= plan.format != kind
    if sound is not None:
        plan.rate = fitted("sample_rate", sound.rate)
        plan.channels = fitted("channels", sound.channels)
        depth = sound.format.bytes * 8 if sound.codec_context.name.startswith("pcm") else 16
        plan.depth = fitted("sample_bit_depth", depth)
        plan.bit_rate = fitted("audio_bit_rate", sound.bit_rate or source.bit_rate or 0)
    length_s = float(source.duration) / av.time_base if source.duration else _length_s(sound or film)
    wanted_s = fitted("duration", length_s)
    if wanted_s > length_s:
        raise Refused(f"duration must be at least {wanted_s:g} s, not {length_s:.2f} s")
    plan.duration_s = wanted_s if wanted_s < length_s else None
    if film is not None and spec.type == "video":
        if film.width * film.height > max_px:
            raise Refused(f"must not have more than {max_px} pixels")
        plan.size = fit_size(rules.get("size"), (film.width, film.height), keep_ratio=spec.keep_aspect_ratio)
        plan.changes |= plan.size != (film.width, film.height)
        space = _space(film.pix_fmt or "")
        wanted = fit_word(rules.get("color_space"), space, "color_space ")
        plan.changes |= wanted != space
        plan.pixels = {"gray": "gray", "monochrome": "gray"}.get(wanted, "yuv420p")
    return plan


def _written(spec: Input, source: Any, plan: _Plan) -> bytes:
    sound_codec, film_codec = _CODECS.get(plan.format, ("", ""))
    if not sound_codec or (spec.type == "video" and not film_codec):
        raise Refused(f"cannot be converted to {plan.format}")
    sound = next(iter(source.streams.audio), None)
    film = next(iter(source.streams.video), None) if spec.type == "video" else None
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=_CONTAINERS.get(plan.format, plan.format)) as target:
        writers: dict[int, _Film | _Sound] = {}
        if film is not None:
            writers[film.index] = _Film(target, film, film_codec, plan, crop=spec.resize_method == "crop")
        if sound is not None:
            writers[sound.index] = _Sound(target, sound_codec, plan)
        wanted = [stream for stream in (film, sound) if stream is not None]
        for frame_of, frame in _frames(source, wanted):
            if plan.duration_s is not None and frame.time is not None and frame.time >= plan.duration_s:
                continue
            writers[frame_of].add(frame)
        for writer in writers.values():
            writer.end()
    return buffer.getvalue()


def _frames(source: Any, streams: list[Any]) -> Any:
    for packet in source.demux(*streams):
        for frame in packet.decode():
            yield packet.stream.index, frame


class _Sound:
    """Writes a sound as planned."""

    def __init__(self, target: Any, codec: str, plan: _Plan) -> None:
        rate = plan.rate
        if codec == "pcm_s16le":
            codec = _PCM.get(plan.depth, codec)
        if codec == "libopus" and rate not in _OPUS_RATES:
            rate = 48000
        layout = {1: "mono", 2: "stereo"}.get(plan.channels, f"{plan.channels}c")
        self._target = target
        self._stream = target.add_stream(codec, rate=rate, layout=layout)
        if plan.bit_rate and not codec.startswith(("pcm", "flac")):
            self._stream.bit_rate = plan.bit_rate
        self._resampler = av.AudioResampler(format=self._stream.format, layout=layout, rate=rate)
        self._left = None if plan.duration_s is None else round(plan.duration_s * rate)
        # Codecs that take whole frames only get them from here.
        self._stream.codec_context.open()
        size = self._stream.codec_context.frame_size
        self._fifo = av.AudioFifo()
        self._size = size or 1024

    def add(self, frame: Any) -> None:
        frame.pts = None
        for made in self._resampler.resample(frame):
            made.pts = None
            self._fifo.write(made)
        self._write(partial=False)

    def end(self) -> None:
        for made in self._resampler.resample(None):
            made.pts = None
            self._fifo.write(made)
        self._write(partial=True)
        self._target.mux(self._stream.encode(None))

    def _write(self, *, partial: bool) -> None:
        while self._fifo.samples >= (1 if partial else self._size):
            count = min(self._size, self._fifo.samples)
            if self._left is not None:
                count = min(count, self._left)
                if not count:
                    self._fifo.read(self._fifo.samples)
                    return
                self._left -= count
            self._target.mux(self._stream.encode(self._fifo.read(count)))


class _Film:
    """Writes the pictures of a video as planned."""

    def __init__(self, target: Any, source: Any, codec: str, plan: _Plan, *, crop: bool) -> None:
        width, height = plan.size
        if codec == "libx264" and plan.pixels == "yuv420p":
            width, height = width // 2 * 2, height // 2 * 2  # it needs even sides
        self._target = target
        self._stream = target.add_stream(codec, rate=source.average_rate or 25)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        steps = [("crop", _middle(source.width, source.height, width, height))] if crop else []
        steps += [("scale", f"{width}:{height}"), ("format", plan.pixels), ("format", "yuv420p")]
        if plan.pixels == "gray":
            steps.insert(-1, ("scale", f"{width}:{height}"))
        self._graph = Graph()
        nodes = [self._graph.add_buffer(template=source, time_base=source.time_base)]
        nodes += [self._graph.add(name, options) for name, options in steps] + [self._graph.add("buffersink")]
        self._graph.link_nodes(*nodes)
        self._graph.configure()

    def add(self, frame: Any) -> None:
        self._graph.push(frame)
        made: Any = self._graph.pull()
        made.pict_type = 0
        self._target.mux(self._stream.encode(made))

    def end(self) -> None:
        self._target.mux(self._stream.encode(None))


def _middle(width: int, height: int, to_width: int, to_height: int) -> str:
    """The largest part of the middle that has the wanted proportions, as FFmpeg's ``crop`` takes it."""
    ratio = min(width / to_width, height / to_height)
    return f"{max(1, int(to_width * ratio))}:{max(1, int(to_height * ratio))}"


def _length_s(stream: Any) -> float:
    return float(stream.duration * stream.time_base) if stream is not None and stream.duration else 0.0


def _format(container: str, declared: str) -> str:
    """One name for a container: FFmpeg lists all that it may be."""
    names = container.split(",")
    if declared in names:
        return declared
    if "webm" in names:
        return "webm" if declared != "mkv" else "mkv"
    return "mp4" if "mp4" in names else names[0]


def _space(pixels: str) -> str:
    """The colour space that a pixel format belongs to."""
    for beginning, space in (
        ("yuva", "yuva"), ("yuv", "yuv"), ("nv", "yuv"), ("rgba", "rgba"), ("bgra", "rgba"), ("argb", "rgba"),
        ("abgr", "rgba"), ("rgb", "rgb"), ("bgr", "bgr"), ("gbrap", "gbr_alpha"), ("gbr", "gbr"), ("gray", "gray"),
        ("mono", "monochrome"), ("pal", "palette"), ("ya", "alpha"),
    ):  # fmt: skip
        if pixels.startswith(beginning):
            return space
    return "other"
