"""Check videos and sounds that callers send, within limits that are checked before the work that they limit.

The format follows from the content. FFmpeg gets its demuxer by name, so that no file can make it use another one.
Headers are not trusted: the packets of the file are counted, and the first of them is decoded.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import av

from app.media.decoding import decode
from app.media.pictures import Normalised
from jobs.errors import DecodingBusy, InvalidRequest, Problem
from jobs.settings import Settings

#: Memory for opening a file, and bytes per pixel of decoding a frame of a video.
_OPENING_BYTES, _BYTES_PER_PX = 16 * 1024 * 1024, 24


@dataclass(frozen=True)
class _Format:
    """A format of files."""

    suffix: str
    signature: re.Pattern[bytes]
    #: FFmpeg's reader, and the decoders that may be used.
    reader: str
    codecs: frozenset[str]


_FILM = frozenset({"h264", "hevc", "av1", "libdav1d", "mpeg4", "vp8", "vp9", "libvpx", "libvpx-vp9"})
_SOUND = frozenset({"aac", "mp3", "mp3float", "opus", "vorbis", "flac", "alac", "libopus", "libvorbis"})
_PCM = frozenset({"pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"})
_FORMATS = {
    "video": (
        _Format("mp4", re.compile(rb"....ftyp", re.DOTALL), "mov", _FILM),
        _Format("webm", re.compile(rb"\x1a\x45\xdf\xa3"), "matroska", _FILM),
        _Format("gif", re.compile(rb"GIF8[79]a"), "gif", frozenset({"gif"})),
    ),
    "audio": (
        _Format("wav", re.compile(rb"RIFF....WAVE", re.DOTALL), "wav", _PCM),
        _Format("mp3", re.compile(rb"ID3|\xff[\xe2-\xff]"), "mp3", _SOUND),
        _Format("ogg", re.compile(rb"OggS"), "ogg", _SOUND),
        _Format("m4a", re.compile(rb"....ftyp", re.DOTALL), "mov", _SOUND),
        _Format("webm", re.compile(rb"\x1a\x45\xdf\xa3"), "matroska", _SOUND),
    ),
}
_NAMES = {"video": "an MP4, WebM or GIF video", "audio": "a WAV, MP3, OGG, M4A or WebM sound"}


def is_film(start: bytes) -> bool:
    """Return whether a file begins like one of the formats of videos."""
    return any(format_.signature.match(start) for format_ in _FORMATS["video"])


def checked(data: bytes, kind: str, settings: Settings) -> Normalised:
    """Check a video or sound; return it unchanged, with the size of its frames and its duration.

    Args:
        data: the file.
        kind: ``video`` or ``audio``.
        settings: ``max_input_bytes``, ``max_input_px`` and ``max_input_s``, and the budget of decoding.

    Raises:
        InvalidRequest: names the field ``kind``.
        DecodingBusy: too many files are being decoded.
    """

    def refused(rule: str) -> InvalidRequest:
        return InvalidRequest(Problem(kind, rule))

    if not data:
        raise refused("must not be empty")
    if len(data) > settings.inputs.max_bytes:
        raise refused(f"must not exceed {settings.inputs.max_bytes} bytes")
    format_ = next((one for one in _FORMATS[kind] if one.signature.match(data)), None)
    if format_ is None:
        raise refused(f"must be {_NAMES[kind]}")
    try:
        with decode(_OPENING_BYTES, lambda: av.open(io.BytesIO(data), "r", format=format_.reader), settings) as source:
            streams = source.streams.video if kind == "video" else source.streams.audio
            if not streams:
                raise refused(f"has no {'pictures' if kind == 'video' else 'sound'}")
            stream: Any = streams[0]
            px = stream.width * stream.height if kind == "video" else 0
            if px > settings.inputs.max_px:
                raise refused(f"must not have more than {settings.inputs.max_px} pixels a frame")
            if stream.codec_context.name not in format_.codecs:
                raise refused(f"must not be encoded with {stream.codec_context.name}")
            need_bytes = _OPENING_BYTES + px * _BYTES_PER_PX
            size, seconds = decode(need_bytes, lambda: _measured(source, stream, settings, refused), settings)
    except (InvalidRequest, DecodingBusy):
        raise
    except Exception:  # FFmpeg raises many types for damaged files
        raise refused(f"is damaged or incomplete ({format_.suffix})") from None
    return Normalised(data, format_.suffix, size, seconds)


def _measured(
    source: Any, stream: Any, settings: Settings, refused: Callable[[str], InvalidRequest]
) -> tuple[tuple[int, int], float]:  # fmt: skip
    """Return width and height as a player shows them, and the duration in seconds. Decodes the first frame only."""
    max_s, max_frames = settings.inputs.max_s, settings.inputs.max_frames
    first, seconds, count = None, 0.0, 0
    for packet in source.demux(stream):
        if first is None:
            first = next(iter(packet.decode()), None)
        if packet.pts is None:
            continue
        count += 1
        end = packet.pts - (stream.start_time or 0) + (packet.duration or 0)
        seconds = max(seconds, float(end * packet.time_base))
        if seconds > max_s:
            raise refused(f"must not be longer than {max_s:g} s")
        if stream.type == "video" and count > max_frames:
            raise refused(f"must not have more than {max_frames} frames")
    if first is None or not seconds:
        raise refused("has nothing to show" if stream.type == "video" else "has nothing to hear")
    if stream.type == "audio":
        return (0, 0), seconds
    if first.width * first.height > settings.inputs.max_px:
        raise refused(f"must not have more than {settings.inputs.max_px} pixels a frame")
    upright = first.rotation % 180 == 0
    return ((first.width, first.height) if upright else (first.height, first.width)), seconds
