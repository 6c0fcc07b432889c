"""The sound of a computed video: samples in memory, and a WAV file beside the frames in the spool.

``<spool>/<job_id>.<attempt>/sound.wav``: 16-bit PCM. It is written before the folder gets its name, so it is there
whenever the frames are, if the video has sound.
"""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs.errors import ObjectNotFound
from jobs.files import spool
from jobs.process.folders import create_file
from jobs.settings import Settings

SOUND = "sound.wav"
_SAMPLE_BYTES = 2


@dataclass(frozen=True)
class Sound:
    """The sound of one video."""

    #: (channels, samples) int16; one or two channels.
    samples: np.ndarray
    sample_rate_hz: int

    @property
    def duration_s(self) -> float:
        return float(self.samples.shape[1] / self.sample_rate_hz)

    def write(self, path: Path) -> None:
        """Write it as a WAV file. Raises: OSError."""
        with create_file(path) as file, wave.open(file, "wb") as target:
            target.setnchannels(len(self.samples))
            target.setsampwidth(_SAMPLE_BYTES)
            target.setframerate(self.sample_rate_hz)
            target.writeframes(np.ascontiguousarray(self.samples.T, dtype="<i2").tobytes())

    @classmethod
    def read(cls, path: Path) -> Sound:
        """Read a file that :meth:`write` made.

        Raises:
            FileNotFoundError, wave.Error, EOFError: it is missing or damaged.
        """
        with wave.open(str(path), "rb") as source:
            content = source.readframes(source.getnframes())
            channels, rate = source.getnchannels(), source.getframerate()
        return cls(np.frombuffer(content, "<i2").reshape(-1, channels).T, rate)


def load(settings: Settings, job_id: str, attempt: int) -> Sound | None:
    """Return the sound of an attempt; None if it has none.

    Raises:
        ObjectNotFound: it was damaged by a crash of the host.
        OSError: it cannot be read now.
    """
    for folder in spool.folders_of(settings, job_id, attempt):
        try:
            return Sound.read(folder / SOUND)
        except FileNotFoundError:
            continue
        except (wave.Error, EOFError, ValueError) as exc:
            raise ObjectNotFound("the computed sound is damaged") from exc
    return None
