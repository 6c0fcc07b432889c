"""The command's arguments."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from framemill import commands, models, operating

EXIT_CODES = """\
exit codes:
  0    done
  1    the job failed or expired, a file could not be read or written, or does not say how it was made
  2    wrong arguments
  3    the server refused the request
  4    the server cannot be reached or is not ready
  5    the job was cancelled by someone else
  130  stopped with Ctrl-C
"""

KINDS = ("text2img", "img2img", "inpaint", "mix2img", "text2video", "img2video")
CLASSES = ("general", "premium")
RETENTION = ("keep", "days", "hours")
EVENTS = ("job.started", "job.succeeded", "job.failed", "job.cancelled", "job.expired")


def parser() -> argparse.ArgumentParser:
    """What ``framemill`` understands; ``run`` of the result is the function to call."""
    top = argparse.ArgumentParser(
        prog="framemill",
        description="Send jobs to a Framemill server, and operate it.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument(
        "--url",
        default=os.environ.get("FRAMEMILL_URL") or "http://127.0.0.1:8000",
        help="the server's address (FRAMEMILL_URL; now %(default)s)",
    )
    top.add_argument("--api-key", default=os.environ.get("FRAMEMILL_API_KEY"), help="API key (FRAMEMILL_API_KEY)")
    top.add_argument("--timeout", type=float, default=30, metavar="S", help="wait for an answer, seconds (%(default)s)")
    top.add_argument("--json", action="store_true", help="print the server's answer as JSON")
    actions = top.add_subparsers(dest="action", required=True, metavar="COMMAND")
    actions.add_parser("up", add_help=False, help="start a server from its checkout; framemill up --help")
    _submit(actions.add_parser("submit", help="send a job"))

    def of_job(name: str, run: object, text: str) -> argparse.ArgumentParser:
        action = actions.add_parser(name, help=text)
        action.add_argument("id")
        action.set_defaults(run=run)
        return action

    of_job("status", commands.status, "show where a job is")
    result = of_job("result", commands.result, "fetch a job's result")
    result.add_argument("-o", "--output", metavar="FILE", help="default: the id with a fitting ending; - is stdout")
    of_job("cancel", commands.cancel, "stop a job")
    delete = actions.add_parser("delete", help="delete jobs with their files; stops those that are not over")
    delete.add_argument("ids", nargs="+", metavar="ID")
    delete.set_defaults(run=commands.delete)
    of_job("retry", commands.retry, "send a failed, cancelled or expired job again")

    hooks = actions.add_parser("webhooks", help="show what was sent to a job's webhook, or send it again")
    hooks.add_argument("words", nargs="+", metavar="[resend] ID")
    hooks.add_argument("--event", choices=EVENTS, help="with resend: only this one (default: all)")
    hooks.set_defaults(run=commands.webhooks)

    follow = actions.add_parser("follow", help="print what happens to a job, or to all jobs")
    follow.add_argument("id", nargs="?", metavar="ID", help="default: all jobs, until Ctrl-C")
    follow.add_argument("--preview", metavar="FILE", help="keep the newest preview of the job in this file")
    follow.set_defaults(run=commands.follow)

    jobs = actions.add_parser("list", help="list jobs")
    jobs.add_argument("--state")
    jobs.add_argument("--limit", type=int)
    jobs.add_argument("--after", help="continue after this job")
    jobs.set_defaults(run=commands.list_jobs)

    inspect = actions.add_parser("inspect", help="show what an image or video says about its making")
    inspect.add_argument("file", metavar="FILE", help="a file, an http(s) link, or the id of a job")
    inspect.add_argument("--index", type=int, default=0, help="which output of the job (%(default)s)")
    inspect.set_defaults(run=commands.inspect)

    _models(actions.add_parser("models", help="list the models; load, unload, pin and check them (operators)"))
    actions.add_parser("service", help="show slots and queue").set_defaults(run=operating.service)

    of_job("front", operating.front, "let a waiting job go first (operators)")
    for name, run, text in (
        ("pause", operating.pause, "start no more jobs; running ones go on (operators)"),
        ("resume", operating.resume, "end a pause (operators)"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("slot", nargs="?", metavar="SLOT", help="default: the whole queue")
        action.set_defaults(run=run)
    dead = actions.add_parser("dead", help="list jobs that were given up because their workers died (operators)")
    dead.set_defaults(run=operating.dead)
    _keys(actions.add_parser("keys", help="make, list and revoke API keys (operators)"))
    return top


def _submit(submit: argparse.ArgumentParser) -> None:
    submit.add_argument("--model", help="default: the first model of the kind")
    submit.add_argument("--kind", choices=KINDS)
    submit.add_argument("--prompt")
    submit.add_argument("--negative-prompt")
    submit.add_argument("--seed", type=int)
    submit.add_argument("--steps", type=int)
    submit.add_argument("--guidance-scale", type=float)
    submit.add_argument("--width", type=int, help="pixels")
    submit.add_argument("--height", type=int, help="pixels")
    submit.add_argument("--frames", type=int)
    submit.add_argument("--fps", type=float, help="frames per second")
    submit.add_argument("--image", metavar="FILE", type=_file_or_link, help="input image: a file or an http(s) link")
    submit.add_argument("--mask", metavar="FILE", type=_file_or_link, help="as --image; white is painted anew")
    submit.add_argument("--resize", choices=("stretch", "crop", "pad"), help="how image and mask get to the size")
    submit.add_argument("--inpaint-area", action=_Part, part="inpaint.area", choices=("whole", "masked"),
                        help="masked: compute only the region around the mask")  # fmt: skip
    submit.add_argument("--inpaint-padding", type=int, action=_Part, part="inpaint.padding_px", metavar="PX",
                        help="of that region, around the mask")  # fmt: skip
    submit.add_argument("--inpaint-blur", type=float, action=_Part, part="inpaint.blur_px", metavar="PX",
                        help="soften the mask")  # fmt: skip
    submit.add_argument("--inpaint-fill", action=_Part, part="inpaint.fill", help="what is under the mask at first",
                        choices=("original", "blurred", "noise", "nothing"))  # fmt: skip
    submit.add_argument("--strength", type=float, help="how far the input image is changed, 0 to 1")
    submit.add_argument("--num-images", type=int, metavar="N", help="number of images; image i has the seed + i")
    submit.add_argument("--scheduler", metavar="NAME", help="such as 'DPM++ 2M Karras'; see `framemill --json models`")
    submit.add_argument("--lora", dest="loras", action="append", type=_lora, metavar="NAME[=WEIGHT]",
                        help="use a LoRA of the model; may be repeated")  # fmt: skip
    submit.add_argument("--mix-text", dest="mix", action="append", type=_mixed_text, metavar="TEXT[=WEIGHT]",
                        help="a text to mix; may be repeated")  # fmt: skip
    submit.add_argument("--mix-image", dest="mix", action="append", type=_mixed_image, metavar="FILE[=WEIGHT]",
                        help="an image to mix; may be repeated")  # fmt: skip
    submit.add_argument("--variation", type=float, action=_Part, part="variation.strength", metavar="SHARE",
                        help="mix in noise of another seed, 0 to 1")  # fmt: skip
    submit.add_argument("--variation-seed", type=int, action=_Part, part="variation.seed", metavar="SEED",
                        help="that seed (default: random)")  # fmt: skip
    submit.add_argument("--hires", type=_size, action=_Part, part="hires", metavar="SCALE",
                        help="enlarge the picture in a second pass, or to a size: 1024x1536")  # fmt: skip
    submit.add_argument("--hires-steps", type=int, action=_Part, part="hires.steps", metavar="N",
                        help="of the second pass (default: as --steps)")  # fmt: skip
    submit.add_argument("--hires-strength", type=float, action=_Part, part="hires.strength", metavar="SHARE",
                        help="how far it changes the picture, 0 to 1 (default: 0.7)")  # fmt: skip
    submit.add_argument("--prior-steps", type=int, action=_Part, part="prior.steps", metavar="N",
                        help="of models with a prior")  # fmt: skip
    submit.add_argument("--prior-guidance-scale", type=float, action=_Part, part="prior.guidance_scale", metavar="X")
    submit.add_argument("--prior-negative-prompt", action=_Part, part="prior.negative_prompt", metavar="TEXT")
    submit.add_argument("--format", dest="output_format", choices=("png", "webp", "jpeg", "mp4", "webm", "gif"),
                        help="images: png, webp, jpeg; videos: mp4, webm, gif, webp")  # fmt: skip
    submit.add_argument("--quality", dest="output_quality", type=int, help="1 to 100, of formats that lose something")
    submit.add_argument("--no-metadata", dest="embed_metadata", action="store_const", const=False,
                        help="leave the request out of the output")  # fmt: skip
    submit.add_argument("--slot", help="run on this slot only")
    submit.add_argument("--priority", type=int, help="-100 to 100; higher goes first, among your own jobs")
    submit.add_argument("--class", dest="job_class", choices=CLASSES, help="default: the key's own")
    submit.add_argument("--start-within", dest="start_within_s", type=float, metavar="S",
                        help="expire unless it starts within so many seconds")  # fmt: skip
    submit.add_argument("--max-run", dest="max_run_s", type=float, metavar="S",
                        help="fail if it runs longer, seconds")  # fmt: skip
    submit.add_argument("--retention", choices=RETENTION, help="how long its files are kept (default: the key's)")
    submit.add_argument("--idempotency-key", metavar="TEXT", help="a repeat with the same text is the same job")
    _webhook(submit, "of this job, instead of the key's webhook")
    submit.add_argument("--no-moderation", dest="moderate", action="store_false", default=None,
                        help="with a key that may turn moderation off")  # fmt: skip
    submit.add_argument("--wait", action="store_true", help="wait for the result; Ctrl-C cancels the job")
    submit.add_argument("-o", "--output", metavar="FILE", help="store the result there (- is standard output); waits")
    submit.add_argument("--preview", metavar="FILE", help="keep the newest preview in this file; waits")
    submit.set_defaults(run=commands.submit)


def _models(top: argparse.ArgumentParser) -> None:
    top.set_defaults(run=models.list_models)
    actions = top.add_subparsers(dest="models_action", metavar="COMMAND", required=False)
    for name, text in (
        ("load", "load it"),
        ("unload", "take it out of memory"),
        ("pin", "load it and keep it in memory, restarts included"),
        ("unpin", "let it go when room is needed"),
        ("check", "load it, run it once, and print the figures"),
        ("warm", "load every model that the models file or a pin keeps in memory"),
    ):
        action = actions.add_parser(name, help=text)
        if name != "warm":
            action.add_argument("name", metavar="NAME")
        where = "default: one that has it" if name == "check" else "default: all that may run it"
        action.add_argument("--slot", help=where)
        if name not in ("unpin", "check"):
            action.add_argument("--wait", action="store_true", help="wait until it is done")
        action.set_defaults(run={"check": models.check, "warm": models.warm}.get(name, models.order))


def _file_or_link(text: str) -> str | Path:
    return text if text.startswith(("http://", "https://")) else Path(text)


def _weighted(text: str) -> tuple[str, dict[str, float]]:
    """``name=0.5`` as name and weight; without a number at its end it is all name."""
    name, _, weight = text.rpartition("=")
    try:
        return (name, {"weight": float(weight)}) if name else (text, {})
    except ValueError:
        return text, {}


def _lora(text: str) -> dict[str, Any]:
    name, weight = _weighted(text)
    return {"name": name, **weight}


def _mixed_text(text: str) -> dict[str, Any]:
    what, weight = _weighted(text)
    return {"text": what, **weight}


def _mixed_image(text: str) -> dict[str, Any]:
    what, weight = _weighted(text)
    return {"image": _file_or_link(what), **weight}


class _Part(argparse.Action):
    """An option that is one value of a field with several, as ``prior.steps``; or, as ``hires``, all that it gives."""

    def __init__(self, option_strings: list[str], dest: str, part: str, **kwargs: Any) -> None:
        field, _, self._name = part.partition(".")
        super().__init__(option_strings, field, **kwargs)

    def __call__(self, _parser: Any, namespace: argparse.Namespace, value: Any, _option: str | None = None) -> None:
        found = getattr(namespace, self.dest) or {}
        setattr(namespace, self.dest, found | ({self._name: value} if self._name else value))


def _size(text: str) -> dict[str, float]:
    """``2`` as a scale, ``1024x1536`` as width and height."""
    width, _, height = text.partition("x")
    return {"width": int(width), "height": int(height)} if height else {"scale": float(text)}


def _webhook(action: argparse.ArgumentParser, whose: str) -> None:
    action.add_argument("--webhook-url", metavar="URL", help=f"where to post the events {whose}")
    action.add_argument("--webhook-event", dest="webhook_events", action="append", choices=EVENTS,
                        help="may be repeated (default: every end of a job)")  # fmt: skip


def _keys(keys: argparse.ArgumentParser) -> None:
    actions = keys.add_subparsers(dest="keys_action", required=True, metavar="COMMAND")
    create = actions.add_parser("create", help="make a key and print its secret, once")
    create.add_argument("service", metavar="SERVICE", help="whose key it is: letters, digits, '_' and '-'")
    create.add_argument("--role", choices=("client", "worker", "admin"),
                        help="default: client; the first key must be an admin's")  # fmt: skip
    create.add_argument("--class", dest="job_class", choices=CLASSES, help="of its jobs (default: general)")
    create.add_argument("--retention", choices=RETENTION,
                        help="how long files of its jobs are kept (default: the server's)")  # fmt: skip
    create.add_argument("--max-waiting", type=int, metavar="N", help="most jobs that may wait")
    create.add_argument("--max-running", type=int, metavar="N", help="most jobs that may run at once")
    create.add_argument("--max-per-minute", type=int, metavar="N", help="most jobs sent in a minute")
    create.add_argument("--model", dest="models", action="append", metavar="M",
                        help="a model it may use; may be repeated (default: all)")  # fmt: skip
    create.add_argument("--endpoint", dest="endpoints", action="append", metavar="PATH",
                        help="beginning of a path it may call; may be repeated (default: all)")  # fmt: skip
    _webhook(create, "of its jobs")
    create.add_argument("--may-skip-moderation", action="store_true", default=None,
                        help="its requests may turn moderation off")  # fmt: skip
    create.set_defaults(run=operating.create_key)
    webhook = actions.add_parser("webhook", help="set, renew or remove a key's webhook")
    webhook.add_argument("service", metavar="SERVICE")
    _webhook(webhook, "of its jobs")
    webhook.add_argument("--new-secret", action="store_true", help="the one before it signs, too, until the next one")
    webhook.add_argument("--off", action="store_true", help="remove the webhook and its secret")
    webhook.set_defaults(run=operating.set_webhook)
    actions.add_parser("list", help="list the keys, without secrets").set_defaults(run=operating.list_keys)
    revoke = actions.add_parser("revoke", help="refuse a key from now on")
    revoke.add_argument("service", metavar="SERVICE")
    revoke.set_defaults(run=operating.revoke_key)
