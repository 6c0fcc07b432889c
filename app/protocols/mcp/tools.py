"""The tools: what they are called, what they take and return, and which models they use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from marshmallow import Schema

from app.access import auth
from app.extensions import models
from app.fields import load_all
from app.problems import Problems
from app.protocols.mcp import answers, generating, jobs, schemas
from app.protocols.mcp.json_schemas import arguments_schema, result_schema
from app.protocols.mcp.results import value_result
from app.protocols.mcp.waits import Wait
from app.protocols.mcp.wire.eras import Call
from app.protocols.mcp.wire.messages import INVALID_PARAMS, RpcError
from jobs.errors import InvalidRequest, Problem
from jobs.models.spec import Kind, ModelSpec
from jobs.suggestions import misspelt

#: The result of a tool, or the wait for it.
Outcome = dict[str, Any] | Wait


@dataclass(frozen=True)
class Tool:
    """A tool."""

    name: str
    title: str
    description: str
    schema: type[Schema]
    answer: type[Schema]
    #: Is called with the checked arguments and what is wrong with others.
    run: Callable[[Call, dict[str, Any], Problems], Outcome]
    #: Kinds of jobs that it makes; empty: it makes none.
    kinds: tuple[Kind, ...] = ()
    hints: dict[str, bool] = field(default_factory=dict)

    @property
    def models(self) -> list[ModelSpec]:
        """The models that it can use for the caller."""
        allowed = auth.caller().models
        return [spec for spec in models() if {*self.kinds} & {*spec.kinds} and (not allowed or spec.name in allowed)]

    @property
    def is_offered(self) -> bool:
        """Whether the caller can use it: a model can do what it is for."""
        return not self.kinds or bool(self.models)

    def view(self) -> dict[str, Any]:
        """Return its description for ``tools/list``."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": arguments_schema(self.schema, self.models),
            "outputSchema": result_schema(self.answer),
            "annotations": {"title": self.title, **self.hints},
        }

    def checked(self, arguments: dict[str, Any]) -> tuple[dict[str, Any], Problems]:
        """Return the arguments that have a value, and what is wrong with others."""
        values, unknown, wrong = load_all(self.schema(), {k: v for k, v in arguments.items() if v is not None})
        problems = Problems(wrong)
        for name in unknown:
            known = misspelt(name, self.schema().fields)
            problems.add([Problem(name, f"is unknown; did you mean {known}?" if known else "is unknown")])
        return {name: value for name, value in values.items() if value is not None}, problems


def _list_models(call: Call, arguments: dict[str, Any], problems: Problems) -> dict[str, Any]:
    problems.check()
    using = {tool.name: {spec.name for spec in tool.models} for tool in TOOLS if tool.kinds}
    listed = []
    for spec in models():
        names = [name for name, usable in using.items() if spec.name in usable]
        if names:
            described = spec.to_dict()
            shown = {name: described[name] for name in
                     ("name", "description", "kinds", "defaults", "limits", "quality", "schedulers",
                      "loras", "controls")}  # fmt: skip
            listed.append({**shown, "tools": names})
    return value_result({"models": listed})


_MAKES = {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": False, "openWorldHint": False}
_CHANGES = {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}
_READS = {"readOnlyHint": True, "openWorldHint": False}
_RESULT = (
    "Returns a preview, and a link to the whole file. If it takes longer than wait_s, it returns the job instead: call "
    "get_job then."
)
TOOLS = (
    Tool(
        "generate_image",
        "Generate an image",
        f"Make an image from a text. {_RESULT}",
        schemas.ImageArguments,
        answers.JobAnswer,
        generating.generate_image,
        (Kind.TEXT2IMG,),
        _MAKES,
    ),
    Tool(
        "edit_image",
        "Edit an image",
        f"Change an image as a text says; with a mask, only what is white in it. {_RESULT}",
        schemas.EditArguments,
        answers.JobAnswer,
        generating.edit_image,
        (Kind.IMG2IMG, Kind.INPAINT, Kind.EDIT),
        {**_MAKES, "openWorldHint": True},
    ),
    Tool(
        "generate_video",
        "Generate a video",
        f"Make a video from a text, or from an image and a text. {_RESULT} The preview is the first frame.",
        schemas.VideoArguments,
        answers.JobAnswer,
        generating.generate_video,
        (Kind.TEXT2VIDEO, Kind.IMG2VIDEO, Kind.VIDEO2VIDEO),
        {**_MAKES, "openWorldHint": True},
    ),
    Tool(
        "get_job",
        "Look after a job",
        "Wait for a job and return its result, or where it stands: its place in the queue, its step and the seconds "
        "left.",
        schemas.GetJobArguments,
        answers.JobAnswer,
        jobs.get_job,
        hints=_READS,
    ),
    Tool(
        "cancel_job",
        "Stop a job",
        "Stop a job: a waiting one never runs, a running one ends within a step.",
        schemas.JobArguments,
        answers.JobAnswer,
        jobs.cancel_job,
        hints={"readOnlyHint": False, "destructiveHint": True, "idempotentHint": True, "openWorldHint": False},
    ),
    Tool(
        "pause_job",
        "Pause a job",
        "Set a job aside until resume_job: it holds no GPU, keeps its place in the queue and loses nothing. A running "
        "one stops after its present step.",
        schemas.JobArguments,
        answers.JobAnswer,
        jobs.pause_job,
        hints=_CHANGES,
    ),
    Tool(
        "resume_job",
        "Resume a job",
        "Let a paused job go on where it stopped, when its place in the queue comes. Call get_job then.",
        schemas.JobArguments,
        answers.JobAnswer,
        jobs.resume_job,
        hints=_CHANGES,
    ),
    Tool(
        "list_models",
        "List the models",
        "List the models with what they can do, their defaults and their limits.",
        schemas.NoArguments,
        answers.ModelsAnswer,
        _list_models,
        hints=_READS,
    ),
)


def offered() -> list[dict[str, Any]]:
    """Return the descriptions of the tools that the caller can use."""
    return [tool.view() for tool in TOOLS if tool.is_offered]


def run(call: Call) -> Outcome:
    """Run the tool that a call names.

    Raises:
        RpcError: there is no such tool, or the arguments are no object.
        FramemillError: the tool refuses.
    """
    name, arguments = call.message.text("name"), call.message.params.get("arguments")
    tool = next((tool for tool in TOOLS if tool.name == name and tool.is_offered), None)
    if tool is None:
        known = misspelt(name, [tool.name for tool in TOOLS])
        raise RpcError(INVALID_PARAMS, f"Unknown tool: {name[:80]}" + (f"; did you mean {known}?" if known else ""))
    if not isinstance(arguments, dict | None):
        raise RpcError(INVALID_PARAMS, "params.arguments must be an object")
    values, problems = tool.checked(arguments or {})
    if tool.kinds and "model" not in values and auth.caller().models:
        values["model"] = _first_allowed(tool, values)
    return tool.run(call, values, problems)


def _first_allowed(tool: Tool, values: dict[str, Any]) -> str:
    """Return the first model that a key with a list of models may use. Raises: InvalidRequest."""
    kind = generating.kind_of(tool.name, values)
    spec = next((spec for spec in tool.models if kind in spec.kinds), None)
    if spec is None:
        raise InvalidRequest(Problem("model", f"cannot be used: this key has no model with {kind}"))
    return spec.name
