"""``talk_objects``: who speaks in a video. One speaker is the sound of the video; several are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.errors import InvalidRequest, Problem

FIELD = "talk_objects"
#: Name of the sound of the one speaker, as errors name it.
AUDIO = f"{FIELD}[0].audio"
_IGNORED_MASK = f"{FIELD}[0].mask has no effect here: the sound of a single speaker drives the whole picture"


def sound_of(body: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the sound of the one speaker, '' if the body names none, and warnings.

    Raises:
        InvalidRequest: there are several speakers, or it is no list of objects with a sound.
    """
    speakers = body.get(FIELD)
    if not speakers:
        return "", []
    if not isinstance(speakers, list) or not all(isinstance(one, Mapping) for one in speakers):
        raise InvalidRequest(Problem(FIELD, "must be a list of objects with audio and mask"))
    if len(speakers) > 1:
        rule = "must have one speaker: a job has one sound, and no model here keeps the sounds of several people apart"
        raise InvalidRequest(Problem(FIELD, rule, len(speakers)))
    audio, mask = speakers[0].get("audio"), speakers[0].get("mask")
    if not isinstance(audio, str) or not audio.strip():
        raise InvalidRequest(Problem(AUDIO, "is required: a link, data URL, base64 or path of the sound"))
    return audio, [_IGNORED_MASK] if mask else []
