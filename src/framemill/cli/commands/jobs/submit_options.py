"""Options of ``framemill submit``: the fields of a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from framemill.cli.context.arguments import complete_model
from framemill.cli.context.options import (
    CLASSES,
    FILE_OR_LINK,
    KINDS,
    RETENTION,
    ControlImage,
    Moment,
    Size,
    Weighted,
    webhook_options,
)

#: What to generate.
REQUEST_OPTIONS = (
    click.option(
        "--model",
        metavar="NAME",
        shell_complete=complete_model,
        help="Default: the first model that supports the kind.",
    ),
    click.option(
        "--kind",
        type=click.Choice(KINDS),
        metavar="KIND",
        help=f"{', '.join(KINDS)}. Default: determined by the other options.",
    ),
    click.option("--prompt", metavar="TEXT"),
    click.option("--negative-prompt", metavar="TEXT"),
    click.option(
        "--enhance-prompt/--no-enhance-prompt",
        default=None,
        help="Whether the server rewrites the prompt, if it can. Default: the server's.",
    ),
    click.option("--seed", type=int, metavar="N", help="Default: random."),
    click.option("--quality", metavar="NAME", help="One of the model's qualities, such as draft, standard or high."),
    click.option("--steps", type=int, metavar="N"),
    click.option("--guidance-scale", type=float, metavar="X"),
    click.option("--clip-skip", type=int, metavar="N", help="Skip this many last layers of the text encoder."),
    click.option("--distilled-guidance-scale", type=float, metavar="X", help="For models that offer it."),
    click.option("--width", type=int, metavar="PIXELS"),
    click.option("--height", type=int, metavar="PIXELS"),
    click.option("--frames", type=int, metavar="N", help="Number of frames of a video."),
    click.option("--fps", type=float, metavar="X", help="Frames per second."),
    click.option("--num-images", type=int, metavar="N", help="Number of images. Image i has the seed + i."),
    click.option("--scheduler", metavar="NAME", help="For example 'DPM++ 2M Karras'; see `framemill models --json`."),
    click.option(
        "--lora",
        "loras",
        type=Weighted("name"),
        multiple=True,
        metavar="NAME[=WEIGHT]",
        help="LoRA of the model; may be repeated.",
    ),
)

#: Input images.
IMAGE_OPTIONS = (
    click.option("--image", type=FILE_OR_LINK, metavar="FILE", help="Input image: a file or an http(s) link."),
    click.option(
        "--images",
        type=FILE_OR_LINK,
        multiple=True,
        metavar="FILE",
        help="Reference image of edit, like --image; may be repeated.",
    ),
    click.option("--last-image", type=FILE_OR_LINK, metavar="FILE", help="Image that the video ends with."),
    click.option("--video", type=FILE_OR_LINK, metavar="FILE", help="Input video of video2video: MP4, WebM or GIF."),
    click.option("--audio", type=FILE_OR_LINK, metavar="FILE", help="Sound that drives the video."),
    click.option("--mask", type=FILE_OR_LINK, metavar="FILE", help="Mask, like --image. White regions are repainted."),
    click.option(
        "--resize", type=click.Choice(("stretch", "crop", "pad")), help="How image and mask are fitted to the size."
    ),
    click.option(
        "--inpaint-area",
        "inpaint__area",
        type=click.Choice(("whole", "masked")),
        help="masked: compute only the region around the mask.",
    ),
    click.option(
        "--inpaint-padding",
        "inpaint__padding_px",
        type=int,
        metavar="PIXELS",
        help="Padding of that region around the mask.",
    ),
    click.option(
        "--inpaint-blur", "inpaint__blur_px", type=float, metavar="PIXELS", help="Soften the edge of the mask."
    ),
    click.option(
        "--inpaint-fill",
        "inpaint__fill",
        type=click.Choice(("original", "blurred", "noise", "nothing")),
        help="Initial content of the masked region.",
    ),
    click.option("--strength", type=float, metavar="X", help="How strongly the input image is changed, 0 to 1."),
    click.option(
        "--control",
        "controls",
        type=ControlImage(),
        multiple=True,
        metavar="NAME=FILE[=SCALE[@START-END]]",
        help="Image for a control of the model, such as canny=edges.png=0.8@0-0.5; may be repeated.",
    ),
    click.option(
        "--mix-text",
        type=Weighted("text"),
        multiple=True,
        metavar="TEXT[=WEIGHT]",
        help="Text to mix; may be repeated.",
    ),
    click.option(
        "--mix-image",
        type=Weighted("image", FILE_OR_LINK),
        multiple=True,
        metavar="FILE[=WEIGHT]",
        help="Image to mix; may be repeated.",
    ),
)

#: Variation noise, second pass and prior.
PASS_OPTIONS = (
    click.option(
        "--variation", "variation__strength", type=float, metavar="X", help="Mix in noise of a second seed, 0 to 1."
    ),
    click.option(
        "--variation-seed", "variation__seed", type=int, metavar="N", help="The second seed. Default: random."
    ),
    click.option(
        "--hires",
        type=Size(),
        metavar="SCALE",
        help="Enlarge the picture in a second pass, by a scale or to a size such as 1024x1536.",
    ),
    click.option(
        "--hires-steps", "hires__steps", type=int, metavar="N", help="Steps of the second pass. Default: as --steps."
    ),
    click.option(
        "--hires-strength",
        "hires__strength",
        type=float,
        metavar="X",
        help="How strongly the second pass changes the picture, 0 to 1. Default: 0.7.",
    ),
    click.option(
        "--prior-steps", "prior__steps", type=int, metavar="N", help="Steps of the prior, if the model has one."
    ),
    click.option(
        "--prior-guidance-scale", "prior__guidance_scale", type=float, metavar="X", help="Guidance scale of the prior."
    ),
    click.option(
        "--prior-negative-prompt", "prior__negative_prompt", metavar="TEXT", help="Negative prompt of the prior."
    ),
)

#: Output files.
OUTPUT_OPTIONS = (
    click.option(
        "--format",
        "output_format",
        type=click.Choice(("png", "webp", "jpeg", "mp4", "webm", "gif")),
        help="Images: png, webp, jpeg. Videos: mp4, webm, gif, webp.",
    ),
    click.option("--output-quality", type=int, metavar="N", help="Quality of lossy formats, 1 to 100."),
    click.option(
        "--sound/--no-sound",
        "audio_output",
        default=None,
        help="Whether a video has sound, of models that make sound. Default: the model's.",
    ),
    click.option(
        "--no-metadata",
        "embed_metadata",
        flag_value=False,
        type=bool,
        default=None,
        help="Do not store the request in the output file.",
    ),
)

#: Scheduling, retention and webhooks.
JOB_OPTIONS = (
    click.option("--id", metavar="ID", help="Id of the job, chosen by you. Default: chosen by the server."),
    click.option("--slot", metavar="NAME", help="Run on this slot only."),
    click.option("--priority", type=int, metavar="N", help="-100 to 100; higher values run first among your own jobs."),
    click.option(
        "--class",
        "job_class",
        type=click.Choice(CLASSES),
        help="Scheduling class; off-peak: only while nothing else waits. Default: the key's class.",
    ),
    click.option(
        "--not-before",
        type=Moment(ahead=True),
        metavar="TIME",
        help="Start no earlier: a local time such as 22:00 or 2026-01-31T18:00, or a delay such as 30m, 8h or 1d.",
    ),
    click.option(
        "--start-within",
        "start_within_s",
        type=float,
        metavar="SECONDS",
        help="The job expires unless it starts within this time.",
    ),
    click.option(
        "--pause-at-step",
        type=click.IntRange(min=1),
        metavar="N",
        help="Pause after N steps with a draft as preview; 'framemill resume ID' goes on.",
    ),
    click.option("--max-run", "max_run_s", type=float, metavar="SECONDS", help="The job fails if it runs longer."),
    click.option(
        "--checkpoint-interval",
        "checkpoint_interval_s",
        type=float,
        metavar="SECONDS",
        help="Time between two checkpoints of the run. 0: only when it is interrupted.",
    ),
    click.option(
        "--reuse",
        is_flag=True,
        default=None,
        help="Get an earlier job with an equal request, also in its seed, instead of a new one.",
    ),
    click.option(
        "--retention",
        type=click.Choice(RETENTION),
        help="How long the job's files are kept. Default: the API key's setting.",
    ),
    click.option(
        "--idempotency-key", metavar="TEXT", help="A repeated request with the same text returns the first job."
    ),
    webhook_options("of this job, instead of the API key's webhook"),
    click.option(
        "--no-moderation",
        "moderate",
        flag_value=False,
        type=bool,
        default=None,
        help="Skip moderation, if the API key permits it.",
    ),
)


#: First option of each section of ``--help``, and its title.
_SECTIONS = {
    "model": "What to generate", "image": "Input images", "variation__strength": "Noise and passes",
    "output_format": "Output file", "id": "Job", "prompts_file": "Many prompts, and waiting", "as_json": "Other",
}  # fmt: skip


class SubmitCommand(click.Command):
    """Joins ``--mix-text`` and ``--mix-image`` to one list ``mix``, in the order of the command line."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        title = ""
        for param in self.get_params(ctx):
            title = _SECTIONS.get(param.name or "", title)
            record = param.get_help_record(ctx)
            if record:
                sections.setdefault(title, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        rest = super().parse_args(ctx, args)
        parts = {name: iter(ctx.params.pop(name) or ()) for name in ("mix_text", "mix_image")}
        ctx.params["mix"] = tuple(next(parts[param.name]) for param in order if param.name in parts)
        return rest


def job_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the options to arguments of ``Client.submit``. ``prior__steps`` becomes ``{"prior": {"steps": …}}``."""
    fields: dict[str, Any] = {}
    for option, value in values.items():
        if value is None or value == ():
            continue
        name, _, part = option.partition("__")
        if part or isinstance(value, dict):
            fields.setdefault(name, {}).update({part: value} if part else value)
        else:
            fields[name] = list(value) if isinstance(value, tuple) else value
    return fields
