"""Prompt enhancement: a function or an HTTP service of the operator rewrites prompts before jobs are queued.

A function is called with the request and the settings, and returns the new prompt. A service gets a POST with a JSON
object (``prompt``, ``negative_prompt``, ``model``, ``kind``) and answers with one that has ``prompt``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace

from jobs.errors import BadSetting
from jobs.outbound import guarded_http
from jobs.outbound.links import LinkRefused, host_of, parse_link
from jobs.outbound.ssrf import GuardedCall
from jobs.process import hooks
from jobs.requests.generation import GenerationRequest
from jobs.settings import Settings

logger = logging.getLogger(__name__)

SETTING = "PROMPT_ENHANCER"
MAX_ANSWER_BYTES = 64 * 1024
#: A function that enhances prompts.
Enhance = Callable[[GenerationRequest, Settings], str]


def verify(settings: Settings) -> None:
    """Verify at start that the enhancer can be called. Raises: BadSetting."""
    enhancer = settings.prompts.enhancer
    if _is_link(enhancer):
        try:
            parse_link(enhancer)
        except LinkRefused as exc:
            raise BadSetting(f"{SETTING}: {exc}") from exc
    elif enhancer:
        hooks.load(SETTING, enhancer)


def enhanced(request: GenerationRequest, settings: Settings) -> tuple[GenerationRequest, str]:
    """Return the request with its prompt rewritten, and a warning if it could not be; '' for none."""
    if not request.prompt.strip():
        return request, ""
    try:
        prompt = _ask(request, settings)
    except Exception as exc:  # the hook is foreign code: the job goes on with the caller's own words
        logger.warning("prompt not enhanced", extra={"error": f"{type(exc).__name__}: {exc}"[:300]})
        return request, "the prompt was not enhanced: the server's enhancer failed"
    if prompt == request.prompt:
        return request, ""
    return replace(request, prompt=prompt, original_prompt=request.prompt), ""


def _ask(request: GenerationRequest, settings: Settings) -> str:
    enhancer = settings.prompts.enhancer
    if _is_link(enhancer):
        answer = _post(request, settings)
    else:
        enhance: Enhance = hooks.load(SETTING, enhancer)
        answer = enhance(request, settings)
    if not isinstance(answer, str) or not answer.strip():
        raise ValueError("its answer is not a text")
    return answer.strip()


def _post(request: GenerationRequest, settings: Settings) -> object:
    """Return the prompt in the service's answer."""
    link = parse_link(settings.prompts.enhancer)
    sent = {name: getattr(request, name) for name in ("prompt", "negative_prompt", "model", "kind")}
    call = GuardedCall(settings.prompts.timeout_s, frozenset({host_of(link).lower()}))

    def ask() -> bytes:
        body, headers = json.dumps(sent).encode(), {"Content-Type": "application/json", "Accept": "application/json"}
        with guarded_http.request(call, "POST", link, headers, body) as response:
            content = b""
            for part in response.iter_stream():
                content += part
                if len(content) > MAX_ANSWER_BYTES:
                    raise ValueError(f"its answer has more than {MAX_ANSWER_BYTES} bytes")
            if response.status != 200:
                raise ValueError(f"it answered {response.status}")
            return content

    answer = json.loads(call.run(ask))
    return answer.get("prompt") if isinstance(answer, dict) else None


def _is_link(enhancer: str) -> bool:
    return enhancer.startswith(("http://", "https://"))
