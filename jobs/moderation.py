"""Moderation: the checks of prompts and outputs, who may skip them, and the built-in check of prompts.

A check of prompts is a function ``(request, settings) -> names of the fields that it refuses``. A check of outputs (see
:mod:`workers.delivery.moderation`) is a function ``(frames, request, settings) -> whether it refuses them``. Settings
name both as ``module:function``. If a check raises an error, nothing passes.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache

from jobs.callers import Caller
from jobs.errors import BadSetting, Forbidden, InvalidRequest, ModerationRefused, Problem, Unavailable
from jobs.process import hooks
from jobs.requests.generation import GenerationRequest
from jobs.settings import PROJECT_ROOT, Settings

logger = logging.getLogger(__name__)

#: Value of a setting that disables a check.
NONE = "none"
WORDS = "jobs.moderation:words"
#: A check of prompts.
PromptCheck = Callable[[GenerationRequest, Settings], Iterable[str]]

#: Digits and signs that are used in place of letters; signs only inside of a word. ``1`` and ``l`` both become i.
_LOOKALIKES = str.maketrans("013457l@$!|", "oieastiasii")
_SIGN_AT_AN_EDGE = re.compile(r"(?<!\w)[@$!|]|[@$!|](?!\w)")


def applies(requested: bool | None, caller: Caller, settings: Settings) -> bool:
    """Whether a request is moderated.

    Args:
        requested: the request's field ``moderate``; None if it is absent.
        caller: the caller, who may have the right to skip moderation.
        settings: whether the server moderates at all.

    Raises:
        Forbidden: the caller may not skip moderation.
        InvalidRequest: moderation is requested, but the server does not moderate.
    """
    if settings.moderation.mode == "off":
        if requested:
            raise InvalidRequest(Problem("moderate", "is not supported: this server has no moderation", requested))
        return True
    if requested is False and not (caller.is_admin or caller.may_skip_moderation):
        raise Forbidden("this API key may not skip moderation")
    return requested is not False


def hides_outputs(settings: Settings, *, moderate: bool) -> bool:
    """Whether outputs of a job must be checked before anybody sees them. Such a job has no previews."""
    return settings.moderation.mode != "off" and moderate and settings.moderation.outputs != NONE


def check_prompts(request: GenerationRequest, settings: Settings, *, moderate: bool) -> None:
    """Refuse a request before it is queued.

    Raises:
        ModerationRefused: names the refused fields, but not the reason.
        Unavailable: the check failed.
    """
    if settings.moderation.mode == "off" or not moderate or settings.moderation.prompts == NONE:
        return
    check: PromptCheck = hooks.load("MODERATION_PROMPTS", settings.moderation.prompts)
    try:
        refused = list(check(request, settings))
    except Exception as exc:
        logger.exception("prompt moderation failed")
        raise Unavailable("the prompt could not be checked by moderation") from exc
    if refused:
        raise ModerationRefused(*(Problem(name, "is refused by this server's moderation") for name in refused))


def verify(settings: Settings, *, outputs: bool = False) -> None:
    """Verify at start that prompts (or outputs) can be checked. Raises: BadSetting."""
    if settings.moderation.mode == "off":
        return
    name = "MODERATION_OUTPUTS" if outputs else "MODERATION_PROMPTS"
    check = settings.moderation.outputs if outputs else settings.moderation.prompts
    if check != NONE:
        hooks.load(name, check)
    if not outputs and check == WORDS:
        _pattern(settings.moderation.words_file)


def words(request: GenerationRequest, settings: Settings) -> list[str]:
    """The built-in check: refuse prompts that contain a word or phrase of ``MODERATION_WORDS_FILE``.

    Only whole words match, regardless of case, accents and look-alike signs (``b4d``, ``b@d``). The negative prompt is
    not checked, because it names what the image must not show.
    """
    return ["prompt"] if _pattern(settings.moderation.words_file).search(_plain(request.prompt)) else []


@lru_cache(maxsize=4)
def _pattern(file: str) -> re.Pattern[str]:
    """Return a pattern that finds every word and phrase of the file. Raises: BadSetting."""
    if not file:
        raise BadSetting("MODERATION requires MODERATION_WORDS_FILE, or MODERATION_PROMPTS=none")
    try:
        lines = (PROJECT_ROOT / file).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as exc:
        raise BadSetting(f"MODERATION_WORDS_FILE {file} cannot be read: {exc}") from exc
    # Comments and entries without letters are skipped.
    entries = [_plain(line).split() for line in lines if not line.lstrip().startswith("#")]
    phrases = [r"\s+".join(map(re.escape, parts)) for parts in entries if parts]
    if not phrases:
        raise BadSetting(f"MODERATION_WORDS_FILE {file} contains no words")
    return re.compile(rf"(?<!\w)(?:{'|'.join(phrases)})(?!\w)")


def _plain(text: str) -> str:
    """Return lower-case letters without accents, look-alikes as letters, and everything else as blanks."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(
        char for char in decomposed if not unicodedata.combining(char) and unicodedata.category(char) != "Cf"
    )
    return re.sub(r"[\W_]+", " ", _SIGN_AT_AN_EDGE.sub(" ", letters).translate(_LOOKALIKES))
