"""Moderation: which checks there are, who may turn them off, and the check of prompts that comes with Framemill.

A check of prompts is a function ``(request, settings) -> names of the fields it refuses``, one of outputs (see
:mod:`workers.delivery.moderation`) a function ``(frames, request, settings) -> whether it refuses them``. The
settings name
them as ``module:function``. A check that raises lets nothing pass.
"""

from __future__ import annotations

import importlib
import logging
import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from jobs.callers import Caller
from jobs.errors import BadSetting, Forbidden, InvalidRequest, ModerationRefused, Problem, Unavailable
from jobs.requests.generation import GenerationRequest
from jobs.settings import PROJECT_ROOT, Settings

logger = logging.getLogger(__name__)

#: The value of a setting that names no check.
NONE = "none"
WORDS = "jobs.moderation:words"
#: The check of prompts.
PromptCheck = Callable[[GenerationRequest, Settings], Iterable[str]]

#: Digits and signs that stand for letters. ``1`` is read as i, and so is l. Signs do so within a word only.
_LOOKALIKES = str.maketrans("013457l@$!|", "oieastiasii")
_SIGN_AT_AN_EDGE = re.compile(r"(?<!\w)[@$!|]|[@$!|](?!\w)")


def wanted(asked: bool | None, caller: Caller, settings: Settings) -> bool:
    """Whether a request is moderated; ``asked``: its ``moderate``.

    Raises:
        Forbidden: this caller may not turn it off.
        InvalidRequest: it is asked for, and the server does not moderate.
    """
    if settings.moderation.mode == "off":
        if asked:
            raise InvalidRequest(Problem("moderate", "this server does not moderate", asked))
        return True
    if asked is False and not (caller.is_admin or caller.may_skip_moderation):
        raise Forbidden("this key may not turn moderation off")
    return asked is not False


def hides_outputs(settings: Settings, *, moderate: bool) -> bool:
    """Whether nobody may see pictures of a job before its outputs were checked: it has no previews then."""
    return settings.moderation.mode != "off" and moderate and settings.moderation.outputs != NONE


def check_prompts(request: GenerationRequest, settings: Settings, *, moderate: bool) -> None:
    """Refuse a request before it is queued.

    Raises:
        ModerationRefused: names the fields, not what is wrong with them.
        Unavailable: the check does not work.
    """
    if settings.moderation.mode == "off" or not moderate or settings.moderation.prompts == NONE:
        return
    check: PromptCheck = load("MODERATION_PROMPTS", settings.moderation.prompts)
    try:
        refused = list(check(request, settings))
    except Exception as exc:
        logger.exception("the check of prompts failed")
        raise Unavailable("the prompt could not be checked") from exc
    if refused:
        raise ModerationRefused(*(Problem(name, "is refused by this server's moderation") for name in refused))


def verify(settings: Settings, *, outputs: bool = False) -> None:
    """Look at the start whether prompts (or outputs) can be checked. Raises: BadSetting."""
    if settings.moderation.mode == "off":
        return
    name = "MODERATION_OUTPUTS" if outputs else "MODERATION_PROMPTS"
    check = settings.moderation.outputs if outputs else settings.moderation.prompts
    if check != NONE:
        load(name, check)
    if not outputs and check == WORDS:
        _pattern(settings.moderation.words_file)


@lru_cache(maxsize=16)
def load(setting: str, check: str) -> Any:
    """The function of ``module:function``. Raises: BadSetting."""
    module, _, name = check.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as exc:
        raise BadSetting(f"{setting} must be module:function or none; {check!r} cannot be imported: {exc}") from exc
    if not callable(found):
        raise BadSetting(f"{setting}: {check!r} is no function")
    return found


def words(request: GenerationRequest, settings: Settings) -> list[str]:
    """The check that comes with Framemill: prompts with a word or phrase of ``MODERATION_WORDS_FILE`` are refused.

    Words count as whole ones, whatever their case, accents and look-alike signs (``b4d``, ``b@d``). The negative
    prompt may name them: it says what not to show.
    """
    return ["prompt"] if _pattern(settings.moderation.words_file).search(_plain(request.prompt)) else []


@lru_cache(maxsize=4)
def _pattern(file: str) -> re.Pattern[str]:
    """What finds a word of the file. Raises: BadSetting."""
    if not file:
        raise BadSetting("MODERATION needs a MODERATION_WORDS_FILE, or MODERATION_PROMPTS=none")
    try:
        lines = (PROJECT_ROOT / file).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as exc:
        raise BadSetting(f"MODERATION_WORDS_FILE {file} cannot be read: {exc}") from exc
    # An entry of signs only is none, as a comment is.
    found = [_plain(line).split() for line in lines if not line.lstrip().startswith("#")]
    phrases = [r"\s+".join(map(re.escape, parts)) for parts in found if parts]
    if not phrases:
        raise BadSetting(f"MODERATION_WORDS_FILE {file} has no words")
    return re.compile(rf"(?<!\w)(?:{'|'.join(phrases)})(?!\w)")


def _plain(text: str) -> str:
    """Lower-case letters without accents, look-alikes as letters, everything else as blanks."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(
        char for char in decomposed if not unicodedata.combining(char) and unicodedata.category(char) != "Cf"
    )
    return re.sub(r"[\W_]+", " ", _SIGN_AT_AN_EDGE.sub(" ", letters).translate(_LOOKALIKES))
