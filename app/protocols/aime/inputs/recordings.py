"""Check and convert sounds and videos of requests with PyAV."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from typing import Any

import av
from av.filter import Graph

from app.media.decoding import decode
from app.protocols.aime.endpoints.spec import Input
from app.protocols.aime.inputs.images import fit_size, fit_word
from app.protocols.aime.inputs.values import BadValue, fit_number
from jobs.errors import DecodingBusy
from jobs.settings import Settings

#: Format → the codecs of sound and picture that it is encoded with.
_CODECS = {
    "wav": ("pcm_s16le", ""), "mp3": ("libmp3lame", ""), "ogg": ("libvorbis", ""), "flac": ("flac", ""),
    "webm": ("libopus", "libvpx-vp9"), "mp4": ("aac", "libx264"), "mkv": ("aac", "libx264"), "avi": ("mp3", "mpeg4"),
    "mov": ("aac", "libx264"),
}  # fmt: skip
_PCM = {8: "pcm_u8", 16: "pcm_s16le", 32: "pcm_s32le", 64: "pcm_f64le"}
_CONTAINERS = {"mkv": "matroska"}
#: Memory for opening a recording, and for a conversion beside its pictures.
_PROBE_BYTES = 16 * 1024 * 1024
#: Frames that decoder and encoder keep: references of the one, frames that the other looks ahead.
_FRAMES_IN_MEMORY = 32
#: Options of encoders of pictures, for fewer frames in memory.
_FEW_FRAMES = {"libx264": {"rc-lookahead": "8", "threads": "1"}, "libvpx-vp9": {"lag-in-frames": "8", "threads": "1"}}
#: The only sample rates that Opus accepts.
_OPUS_RATES = (48000, 24000, 16000, 12000, 8000)


@dataclass
class _Plan:
    """The properties that a recording must have; equal to its own where nothing changes."""

    format: str
    changes: bool = False
    rate: int = 0
    channels: int = 0
    depth: int = 0
    bit_rate: int = 0
    duration_s: float | None = None
    size: tuple[int, int] = (0, 0)
    pixels: str = ""
    #: Pixels of a frame, before or after the conversion.
    frame_px: int = 0

    @property
    def need_bytes(self) -> int:
        """Memory that the conversion needs at most, without its result."""
        return _PROBE_BYTES + self.frame_px * _FRAMES_IN_MEMORY * 2


def convert_recording(
    spec: Input, data: bytes, declared: str, formats: tuple[str, ...], settings: Settings
) -> tuple[bytes, str]:  # fmt: skip
    """Return a sound or video as its input declares it; the bytes are unchanged if it already conforms.

    Args:
        spec: the input.
        data: the file.
        declared: the format that the caller names; needed where one container is used by several formats.
        formats: formats that the server accepts; empty: all that FFmpeg knows.
        settings: limits of pixels, bytes and decoding.

    Returns:
        The file, and its format.

    Raises:
        BadValue: it is damaged, or it is not allowed and the input does not convert; or the result would be too large.
        DecodingBusy: too many recordings are being decoded.
    """
    max_px = settings.inputs.max_px

    def checked() -> tuple[Any, _Plan]:
        source = av.open(io.BytesIO(data), "r")
        try:
            return source, _plan(spec, source, declared, formats, max_px)
        except BaseException:
            source.close()
            raise

    def encoded() -> bytes:
        target = _LimitedFile(settings.inputs.max_bytes)
        try:
            _encode(spec, source, plan, target, settings.inputs.convert_s)
        except Exception:
            if target.is_full:
                raise BadValue(f"must not exceed {settings.inputs.max_bytes} bytes after its conversion") from None
            raise
        return target.getvalue()

    try:
        # FFmpeg decodes the first pictures of some formats to find out what they are.
        source, plan = decode(_PROBE_BYTES, checked, settings)
        with source:
            if not plan.changes:
                return data, plan.format
            return decode(plan.need_bytes + settings.inputs.max_bytes, encoded, settings), plan.format
    except (BadValue, DecodingBusy):
        raise
    except Exception:  # FFmpeg raises many types for damaged files
        raise BadValue(f"is damaged, or of an unknown {spec.type} format") from None


class _LimitedFile(io.BytesIO):
    """A file in memory that refuses to become larger than an input may be."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self._max_bytes = max_bytes
        #: Whether something was refused. FFmpeg hides the exception.
        self.is_full = False

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self._max_bytes:
            self.is_full = True
            raise OSError("the file is full")
        return super().write(data)


def _plan(spec: Input, source: Any, declared: str, formats: tuple[str, ...], max_px: int) -> _Plan:
    kind = _format(source.format.name, declared)
    if formats and kind not in formats:
        raise BadValue(f"must be {', '.join(formats)}, not {kind}")
    sound = next(iter(source.streams.audio), None)
    film = next(iter(source.streams.video), None)
    if (film if spec.type == "video" else sound) is None:
        raise BadValue(f"has no {'pictures' if spec.type == 'video' else 'sound'}")
    plan = _Plan(kind)
    plan.format = fit_word(spec.attributes.get("format"), kind, "format ")
    plan.changes |= plan.format != kind
    if sound is not None:
        _plan_sound(plan, spec, source, sound)
    duration_s = float(source.duration) / av.time_base if source.duration else _stream_duration_s(sound or film)
    allowed_s = _fit(plan, spec, "duration", duration_s)
    if allowed_s > duration_s:
        raise BadValue(f"duration must be at least {allowed_s:g} s, not {duration_s:.2f} s")
    plan.duration_s = allowed_s if allowed_s < duration_s else None
    if film is not None and spec.type == "video":
        _plan_film(plan, spec, film, max_px)
    return plan


def _plan_sound(plan: _Plan, spec: Input, source: Any, sound: Any) -> None:
    plan.rate = _fit(plan, spec, "sample_rate", sound.rate)
    plan.channels = _fit(plan, spec, "channels", sound.channels)
    depth = sound.format.bytes * 8 if sound.codec_context.name.startswith("pcm") else 16
    plan.depth = _fit(plan, spec, "sample_bit_depth", depth)
    plan.bit_rate = _fit(plan, spec, "audio_bit_rate", sound.bit_rate or source.bit_rate or 0)


def _plan_film(plan: _Plan, spec: Input, film: Any, max_px: int) -> None:
    if film.width * film.height > max_px:
        raise BadValue(f"must not have more than {max_px} pixels")
    size = (film.width, film.height)
    plan.size = fit_size(spec, size)
    space = _space(film.pix_fmt or "")
    allowed_space = fit_word(spec.attributes.get("color_space"), space, "color_space ")
    plan.frame_px = max(film.width * film.height, plan.size[0] * plan.size[1])
    if plan.frame_px > max_px:
        raise BadValue(f"must not have more than {max_px} pixels after its conversion")
    plan.changes |= plan.size != size or allowed_space != space
    plan.pixels = {"gray": "gray", "monochrome": "gray"}.get(allowed_space, "yuv420p")


def _fit(plan: _Plan, spec: Input, name: str, value: Any) -> Any:
    """Return an attribute within its limits; the plan notes whether it changes. An unknown value (0) stays."""
    rule = spec.attributes.get(name)
    fitted = fit_number(rule, value, f"{name} ") if rule is not None and value else value
    plan.changes |= fitted != value
    return fitted


def _encode(spec: Input, source: Any, plan: _Plan, file: io.BytesIO, limit_s: float) -> None:
    sound_codec, film_codec = _CODECS.get(plan.format, ("", ""))
    if not sound_codec or (spec.type == "video" and not film_codec):
        raise BadValue(f"cannot be converted to {plan.format}")
    sound = next(iter(source.streams.audio), None)
    film = next(iter(source.streams.video), None) if spec.type == "video" else None
    latest = time.monotonic() + limit_s
    with av.open(file, "w", format=_CONTAINERS.get(plan.format, plan.format)) as target:
        writers: dict[int, _Film | _Sound] = {}
        if film is not None:
            writers[film.index] = _Film(target, film, film_codec, plan, crop=spec.resize_method == "crop")
        if sound is not None:
            writers[sound.index] = _Sound(target, sound_codec, plan)
        streams = [stream for stream in (film, sound) if stream is not None]
        for index, frame in _frames(source, streams):
            if time.monotonic() > latest:
                raise BadValue(f"takes more than {limit_s:g} s to convert: send it as {plan.format}")
            if plan.duration_s is not None and frame.time is not None and frame.time >= plan.duration_s:
                continue
            writers[index].add(frame)
        for writer in writers.values():
            writer.end()


def _frames(source: Any, streams: list[Any]) -> Any:
    for packet in source.demux(*streams):
        for frame in packet.decode():
            yield packet.stream.index, frame


class _Sound:
    """Encodes a sound as planned."""

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
        self._remaining = None if plan.duration_s is None else round(plan.duration_s * rate)
        # Some codecs accept only whole frames; the FIFO cuts the samples into such frames.
        self._stream.codec_context.open()
        size = self._stream.codec_context.frame_size
        self._fifo = av.AudioFifo()
        self._size = size or 1024

    def add(self, frame: Any) -> None:
        frame.pts = None
        for resampled in self._resampler.resample(frame):
            resampled.pts = None
            self._fifo.write(resampled)
        self._write(partial=False)

    def end(self) -> None:
        for resampled in self._resampler.resample(None):
            resampled.pts = None
            self._fifo.write(resampled)
        self._write(partial=True)
        self._target.mux(self._stream.encode(None))

    def _write(self, *, partial: bool) -> None:
        while self._fifo.samples >= (1 if partial else self._size):
            count = min(self._size, self._fifo.samples)
            if self._remaining is not None:
                count = min(count, self._remaining)
                if not count:
                    self._fifo.read(self._fifo.samples)
                    return
                self._remaining -= count
            self._target.mux(self._stream.encode(self._fifo.read(count)))


class _Film:
    """Encodes the frames of a video as planned."""

    def __init__(self, target: Any, source: Any, codec: str, plan: _Plan, *, crop: bool) -> None:
        width, height = plan.size
        if codec == "libx264" and plan.pixels == "yuv420p":
            width, height = width // 2 * 2, height // 2 * 2  # the codec needs even sides
        self._target = target
        self._stream = target.add_stream(codec, rate=source.average_rate or 25, options=_FEW_FRAMES.get(codec, {}))
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        filters = [("crop", _center(source.width, source.height, width, height))] if crop else []
        filters += [("scale", f"{width}:{height}"), ("format", plan.pixels), ("format", "yuv420p")]
        if plan.pixels == "gray":
            filters.insert(-1, ("scale", f"{width}:{height}"))
        self._graph = Graph()
        nodes = [self._graph.add_buffer(template=source, time_base=source.time_base)]
        nodes += [self._graph.add(name, options) for name, options in filters] + [self._graph.add("buffersink")]
        self._graph.link_nodes(*nodes)
        self._graph.configure()

    def add(self, frame: Any) -> None:
        self._graph.push(frame)
        scaled: Any = self._graph.pull()
        scaled.pict_type = 0
        self._target.mux(self._stream.encode(scaled))

    def end(self) -> None:
        self._target.mux(self._stream.encode(None))


def _center(width: int, height: int, to_width: int, to_height: int) -> str:
    """Return FFmpeg's ``crop`` argument for the largest center part with the proportions of the target."""
    ratio = min(width / to_width, height / to_height)
    return f"{max(1, int(to_width * ratio))}:{max(1, int(to_height * ratio))}"


def _stream_duration_s(stream: Any) -> float:
    return float(stream.duration * stream.time_base) if stream is not None and stream.duration else 0.0


def _format(container: str, declared: str) -> str:
    """Return one format for a container, of which FFmpeg lists all possible formats."""
    names = container.split(",")
    if declared in names:
        return declared
    if "webm" in names:
        return "webm" if declared != "mkv" else "mkv"
    return "mp4" if "mp4" in names else names[0]


def _space(pixels: str) -> str:
    """Return the color space that a pixel format belongs to."""
    for beginning, space in (
        ("yuva", "yuva"), ("yuv", "yuv"), ("nv", "yuv"), ("rgba", "rgba"), ("bgra", "rgba"), ("argb", "rgba"),
        ("abgr", "rgba"), ("rgb", "rgb"), ("bgr", "bgr"), ("gbrap", "gbr_alpha"), ("gbr", "gbr"), ("gray", "gray"),
        ("mono", "monochrome"), ("pal", "palette"), ("ya", "alpha"),
    ):  # fmt: skip
        if pixels.startswith(beginning):
            return space
    return "other"
