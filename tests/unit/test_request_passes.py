"""Second pass, mixed noise and settings of the prior: completed, or refused by field and rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.fields import load
from app.protocols.native.wire.schemas import SUBMIT
from framemill.cli.commands.jobs.submit import submit
from framemill.cli.commands.jobs.submit_options import job_fields
from jobs.errors import InvalidRequest
from jobs.models.registry import ModelRegistry
from jobs.requests.generation import MAX_SEED, GenerationRequest
from tests.support.resolving import resolve

MODELS = """
[image]
source = "hub/image"
kinds = ["text2img", "img2img", "inpaint"]
defaults = { steps = 20, width = 512, height = 768 }
limits = { width = [64, 1024], height = [64, 1536] }

[careful]
source = "hub/image"
kinds = ["text2img", "img2img"]
limits = { strength = [0.1, 0.5] }

[text-only]
source = "hub/other"
kinds = ["text2img"]

[video]
source = "hub/video"
kinds = ["text2video"]

[decoder]
source = "hub/decoder"
prior = "hub/prior"
kinds = ["text2img", "mix2img"]

[combined]
source = "hub/combined"
prior_arguments = {}
kinds = ["text2img"]
"""
KEY = "inputs/x.png"


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    (tmp_path / "models.toml").write_text(MODELS)
    return ModelRegistry.from_file(tmp_path / "models.toml")


@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({"model": "text-only", "hires": {}}, "hires", "img2img, which model text-only does not have"),
        ({"model": "image", "image": KEY, "hires": {}}, "hires", "does not apply to img2img"),
        ({"model": "video", "hires": {"scale": 2}}, "hires", "does not apply to text2video"),
        (
            {"model": "image", "hires": {"scale": 2, "width": 600}},
            "hires.scale",
            "cannot be combined with width or height",
        ),
        ({"model": "image", "hires": {"scale": 0.5}}, "hires.scale", "must be between 1 and 64"),
        ({"model": "image", "hires": {"scale": 1e300}}, "hires.scale", "must be between 1 and 64"),
        ({"model": "image", "hires": {"width": 504, "height": 800}}, "hires.width", "that of the first pass, 512"),
        ({"model": "image", "hires": {"width": 600, "height": 700}}, "hires.height", "that of the first pass, 768"),
        (
            {"model": "image", "hires": {"width": 1032, "height": 800}},
            "hires.width",
            "between 64 and 1024 for model image",
        ),
        ({"model": "image", "width": 1024, "hires": {"height": 1600}}, "hires.width", "between 64 and 1024"),
        ({"model": "image", "hires": {"steps": 201}}, "hires.steps", "must be between 1 and 200"),
        ({"model": "image", "hires": {"strength": 1.1}}, "hires.strength", "must be between 0 and 1"),
        ({"model": "careful", "hires": {"strength": 0.6}}, "hires.strength", "must be between 0.1 and 0.5"),
        ({"model": "careful", "hires": {"steps": 1, "strength": 0.5}}, "hires.strength", "at least 1 / steps"),
        ({"model": "image", "variation": {"strength": 1.01}}, "variation.strength", "must be between 0 and 1"),
        ({"model": "image", "variation": {"strength": -1}}, "variation.strength", "must be between 0 and 1"),
        (
            {"model": "image", "variation": {"seed": MAX_SEED + 1, "strength": 1}},
            "variation.seed",
            "must be between 0 and",
        ),
        ({"model": "image", "prior": {"steps": 5}}, "prior", "model image has no prior"),
        ({"model": "decoder", "prior": {"steps": 0}}, "prior.steps", "must be between 1 and 200"),
        ({"model": "decoder", "prior": {"steps": 201}}, "prior.steps", "must be between 1 and 200"),
        ({"model": "decoder", "prior": {"guidance_scale": 51}}, "prior.guidance_scale", "must be between 0 and 50"),
    ],
)
def test_what_cannot_be_done_is_refused_by_field(
    registry: ModelRegistry, fields: dict[str, Any], field: str, rule: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve(registry, fields)
    assert field in [problem.field for problem in caught.value.problems]
    assert any(rule in problem.rule for problem in caught.value.problems if problem.field == field)


@pytest.mark.parametrize(
    ("hires", "size", "warnings"),
    [
        ({}, (1024, 1536), []),
        ({"scale": 1}, (512, 768), []),
        ({"scale": 1.3}, (664, 1000), []),
        ({"width": 768}, (768, 1152), []),
        ({"height": 1152}, (768, 1152), []),
        ({"width": 601, "height": 900}, (600, 896), ["hires.width 601 was rounded to 600", "hires.height 900"]),
    ],
)
def test_the_size_of_the_second_pass(
    registry: ModelRegistry, hires: dict[str, Any], size: tuple[int, int], warnings: list[str]
) -> None:
    request, found = resolve(registry, {"model": "image", "hires": hires})
    assert request.output_size == size
    assert (request.width, request.height) == (512, 768)
    assert len(found) == len(warnings)
    assert all(one.startswith(start) for one, start in zip(found, warnings, strict=True))


def test_the_second_pass_has_the_jobs_steps_unless_said(registry: ModelRegistry) -> None:
    request, _ = resolve(registry, {"model": "image", "steps": 10, "hires": {}})
    assert request.hires == {"width": 1024, "height": 1536, "steps": 10, "strength": 0.7}
    assert (request.second_steps, request.total_steps) == (7, 17)
    request, _ = resolve(registry, {"model": "image", "hires": {"steps": 5, "strength": 1}})
    assert (request.second_steps, request.total_steps) == (5, 25)
    request, _ = resolve(registry, {"model": "careful", "hires": {}})
    assert request.hires is not None
    assert request.hires["strength"] == 0.5


def test_both_passes_are_work(registry: ModelRegistry) -> None:
    plain, _ = resolve(registry, {"model": "image", "steps": 10})
    hires, _ = resolve(registry, {"model": "image", "steps": 10, "hires": {"scale": 2, "strength": 0.5}})
    assert hires.work == pytest.approx(plain.work * (1 + 0.5 * 4))


def test_noise_of_another_seed(registry: ModelRegistry) -> None:
    request, _ = resolve(registry, {"model": "image", "seed": 5, "variation": {"seed": 9, "strength": 0.25}})
    assert request.variation == {"seed": 9, "strength": 0.25}
    assert [request.seeds(index) for index in range(2)] == [
        {"seed": 5, "variation_seed": 9},
        {"seed": 5, "variation_seed": 10},
    ]
    for absent in (None, {}, {"seed": 9}, {"seed": 9, "strength": 0}, {"seed": 9, "strength": None}):
        request, _ = resolve(registry, {"model": "image", "seed": 5, "variation": absent})
        assert request.variation is None
        assert request.seeds(1) == {"seed": 6}


def test_the_other_seed_is_random_unless_said(registry: ModelRegistry) -> None:
    variations = [
        resolve(registry, {"variation": part})[0].variation for part in ({"strength": 1}, {"strength": 1, "seed": -1})
    ]
    seeds = [part["seed"] for part in variations if part]
    assert len(set(seeds)) == 2
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_of_the_prior_only_what_was_sent(registry: ModelRegistry) -> None:
    sent = {"steps": 5, "guidance_scale": None, "negative_prompt": "fog"}
    for model in ("decoder", "combined"):
        request, _ = resolve(registry, {"model": model, "prior": sent})
        assert request.prior == {"steps": 5, "negative_prompt": "fog"}
    assert resolve(registry, {"model": "image", "prior": {"steps": None}})[0].prior is None


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "image", "hires": {"scale": 1.7}, "variation": {"strength": 0.5}},
        {"model": "decoder", "prior": {"guidance_scale": 2}},
    ],
)
def test_a_complete_request_can_be_sent_again(registry: ModelRegistry, fields: dict[str, Any]) -> None:
    request, _ = resolve(registry, fields)
    assert resolve(registry, request.shown()) == (request, [])
    assert GenerationRequest.from_dict(request.to_dict()) == request


def test_the_command_has_an_option_for_each() -> None:
    def fields(*words: str) -> dict[str, Any]:
        return job_fields(submit.make_context("submit", [*words]).params)

    words = "--variation 0.3 --variation-seed 4 --hires 1.5 --hires-steps 8 --hires-strength 0.4 --prior-steps 9"
    given = fields(*words.split(), "--prior-negative-prompt", "fog")
    assert given["variation"] == {"strength": 0.3, "seed": 4}
    assert given["hires"] == {"scale": 1.5, "steps": 8, "strength": 0.4}
    assert given["prior"] == {"steps": 9, "negative_prompt": "fog"}
    assert fields("--hires", "1024x1536")["hires"] == {"width": 1024, "height": 1536}
    assert fields().keys().isdisjoint({"variation", "hires", "prior"})


def test_a_form_sends_them_as_text() -> None:
    values, _ = load(SUBMIT, {"hires": '{"scale": 2}', "variation": {"seed": "3", "strength": "0.5"}, "prior": None})
    assert values == {"hires": {"scale": 2.0}, "variation": {"seed": 3, "strength": 0.5}, "prior": None}


@pytest.mark.parametrize(
    ("sent", "field", "rule"),
    [
        ({"hires": "2"}, "hires", "must be an object"),
        ({"hires": "{"}, "hires", "must be an object"),
        ({"hires": [1]}, "hires", "must be an object"),
        ({"hires": {"size": 2}}, "hires.size", "is unknown"),
        ({"hires": {"width": 1.5}}, "hires.width", "must be a whole number"),
        ({"variation": {"strength": "much"}}, "variation.strength", "must be a number"),
        ({"prior": {"negative_prompt": 3}}, "prior.negative_prompt", "must be text"),
    ],
)
def test_wrong_types_are_named(sent: dict[str, Any], field: str, rule: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load(SUBMIT, sent)
    assert [(problem.field, problem.rule) for problem in caught.value.problems] == [(field, rule)]


def test_batches_of_a_series_go_on_where_the_last_one_ended(registry: ModelRegistry) -> None:
    request, _ = resolve(registry, {"model": "image", "seed": 5, "num_images": 2})
    assert [request.batch(5, first).seeds(1) for first in (0, 2)] == [{"seed": 6}, {"seed": 8}]
    request, _ = resolve(registry, {"model": "image", "variation": {"seed": 9, "strength": 0.5}, "num_images": 2})
    assert [request.batch(3, first).seeds(1) for first in (0, 2)] == [
        {"seed": 3, "variation_seed": 10},
        {"seed": 3, "variation_seed": 12},
    ]


IMAGE = {"model": "image", "image": "inputs/x.png"}


@pytest.mark.parametrize("kind", ["img2img", "inpaint"])
@pytest.mark.parametrize(("steps", "strength", "used"), [(4, 0.2, 0.25), (4, 0, 0.25), (1, 0.75, 1), (20, 0.049, 0.05)])
def test_a_low_strength_runs_one_step(
    registry: ModelRegistry, kind: str, steps: int, strength: float, used: float
) -> None:
    mask = {"mask": "inputs/m.png"} if kind == "inpaint" else {}
    request, warnings = resolve(registry, {**IMAGE, **mask, "kind": kind, "steps": steps, "strength": strength})
    assert request.strength == used
    assert warnings == [f"strength {strength:g} was raised to {used:g}: with {steps} steps, none would have run"]


def test_one_step_runs_for_any_number_of_steps(registry: ModelRegistry) -> None:
    for steps in range(1, 201):
        request, _ = resolve(registry, {**IMAGE, "kind": "img2img", "steps": steps, "strength": 0})
        assert int(steps * (request.strength or 0)) == 1


def test_a_strength_that_runs_a_step_is_kept(registry: ModelRegistry) -> None:
    request, warnings = resolve(registry, {**IMAGE, "kind": "img2img", "steps": 4, "strength": 0.3})
    assert (request.strength, warnings) == (0.3, [])


def test_the_second_pass_runs_at_least_one_step(registry: ModelRegistry) -> None:
    request, warnings = resolve(registry, {"model": "image", "hires": {"steps": 4, "strength": 0.2}})
    assert request.hires == {"width": 1024, "height": 1536, "steps": 4, "strength": 0.25}
    assert request.second_steps == 1
    assert warnings == ["hires.strength 0.2 was raised to 0.25: with 4 steps, none would have run"]
