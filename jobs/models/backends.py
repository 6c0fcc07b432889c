"""The back ends file: servers of other systems that run jobs, each as one slot.

The name of a table is the name of the slot. A Celery worker of that queue serves it (``celery -A tasks worker -Q
lightx2v-1``). Errors are raised when a process starts and name file, line, table and key. Devoid Generator's
``executors.json`` is supported as well (:mod:`jobs.models.executors_json`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, validates_schema

from jobs.errors import BadSetting
from jobs.models import executors_json
from jobs.models.builtin import BUILT_IN
from jobs.models.registry import ModelRegistry
from jobs.models.spec import ModelSpec
from jobs.models.toml_fields import ChoiceField, SecondsField, StringField, TableSchema, TypedField
from jobs.process.toml_lines import TomlFile
from jobs.settings import PROJECT_ROOT, Settings
from jobs.slots.slot import MAX_BACKEND_NAME_CHARS, is_backend_name

#: Protocols of back ends; each has a module in ``workers/remote``.
TYPES = ("lightx2v", "automatic1111", "kandinsky", "openai")

#: Type → the environment variable with its key, unless the table names another one.
_CREDENTIALS = {"kandinsky": "KANDINSKY_API_TOKEN"}
#: Path of Devoid Generator's file, which is read if there is no ``backends.toml``.
_EXECUTORS_JSON = Path("data") / "executors.json"


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A server of another system: one table of the back ends file."""

    name: str
    #: The protocol that it speaks.
    type: str
    #: Its URL, without a slash at the end.
    endpoint: str
    #: Names of the models that it offers, here → there; '' where the back end needs no name.
    models: Mapping[str, str]
    #: Longest wait for a response, seconds.
    timeout_s: float = 10.0
    #: A job is moved to another slot when its back end has been unreachable for this long, seconds.
    lost_after_s: float = 30.0
    #: A run that takes longer is stopped and moved to another slot, seconds; None: no limit.
    run_timeout_s: float | None = None
    #: Environment variable with its key or ``user:password``; '' for none.
    credentials_env: str = field(default="", repr=False)
    #: Names of the controls of the model in use, here → there (:meth:`for_model`).
    controls: Mapping[str, str] = field(default_factory=dict)

    def offered(self, registry: ModelRegistry) -> list[ModelSpec]:
        """Return the models of the registry that it may run."""
        return registry.for_slot(self.name, self.models)

    def for_model(self, spec: ModelSpec) -> Backend:
        """Return the back end with its names for the controls of a model that only back ends have."""
        controls = {name: control.source for name, control in spec.controls.items()}
        return replace(self, controls=controls) if spec.executor == "remote" else self


class _Endpoint(TypedField):
    types = (str,)
    default_error_messages = {"invalid": "must be a URL such as http://gpuhost:8000, without user name or query"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = str(super()._deserialize(value, attr, data, **kwargs))
        if not _is_endpoint(text):
            raise self.make_error("invalid")
        return text.rstrip("/")


class _Models(TypedField):
    """A list of model names, or a table of model names and the back end's names for them."""

    types = (list, dict)
    default_error_messages = {
        "invalid": "must be a list of models of the models file, or a table from them to the back end's names"
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, str]:
        value = super()._deserialize(value, attr, data, **kwargs)
        names = value if isinstance(value, list) else value.values()
        if not value or not all(isinstance(name, str) for name in names):
            raise self.make_error("invalid")
        return dict.fromkeys(value, "") if isinstance(value, list) else value


class BackendSchema(TableSchema):
    """One table of the back ends file."""

    type = ChoiceField(TYPES, required=True)
    endpoint = _Endpoint(required=True)
    models = _Models()
    timeout_s = SecondsField()
    lost_after_s = SecondsField()
    run_timeout_s = SecondsField()
    credentials_env = StringField()

    @validates_schema
    def _check_models(self, table: dict[str, Any], **kwargs: Any) -> None:
        if "models" not in table and table["type"] not in BUILT_IN:
            raise ValidationError(_Models.default_error_messages["invalid"], "models")


#: Every key of a back end's table.
KEYS = frozenset(BackendSchema().fields)


def read_backends(path: Path) -> dict[str, Backend]:
    """Read and check the whole file.

    If neither the default file nor Devoid Generator's exists, there are no back ends. Any other file must exist.

    Raises:
        BadSetting: unreadable file, syntax error, unknown key, wrong type or value.
    """
    if path == PROJECT_ROOT / "backends.toml" and not path.exists():
        path = PROJECT_ROOT / _EXECUTORS_JSON
        if not path.exists():
            return {}
    if path.suffix == ".json":
        entries = executors_json.read(path)
        return {name: _backend(name, entry.load(BackendSchema()), entry.error) for name, entry in entries.items()}
    file = TomlFile.read(path, "BACKENDS_FILE")
    return {
        name: _backend(name, file.load(BackendSchema(), name), partial(file.error, (name, "name")))
        for name in file.tables
    }


def registry_of(settings: Settings) -> ModelRegistry:
    """Return every model of this installation: those of the models file and the built-in ones of back ends.

    Raises:
        BadSetting: one of the two files is wrong.
    """
    registry = ModelRegistry.from_file(settings.paths.models_file)
    if settings.devoid.test_mode:
        registry = registry.drawing()
    offered = {name for backend in read_backends(settings.paths.backends_file).values() for name in backend.models}
    built_in = [BUILT_IN[name] for name in sorted(offered & BUILT_IN.keys() - set(registry.names()))]
    return ModelRegistry([*registry, *built_in])


def _backend(name: str, values: dict[str, Any], error: Callable[[str], BadSetting]) -> Backend:
    if not is_backend_name(name):
        rule = "must be letters, digits and '_' with at least one '-' in between, such as lightx2v-1"
        raise error(f"{rule}; at most {MAX_BACKEND_NAME_CHARS} characters")
    kind = values["type"]
    built_in = {"models": {kind: ""}, "credentials_env": _CREDENTIALS.get(kind, "")}
    return Backend(name=name, **{**built_in, **values})


def _is_endpoint(text: str) -> bool:
    try:
        url = urlsplit(text)
        url.port  # noqa: B018  (raises ValueError for an invalid port)
    except ValueError:
        return False
    return (
        url.scheme in ("http", "https") and bool(url.hostname) and not (url.query or url.fragment or "@" in url.netloc)
    )
