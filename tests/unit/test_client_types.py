"""The types of the client name the same keys as the schemas of the server's responses."""

from __future__ import annotations

from typing import Any, NotRequired, get_origin, get_type_hints

import pytest
from marshmallow import Schema

from app.protocols.native import usage
from app.protocols.native.wire import answers, fleet_answers
from framemill import responses
from framemill.records import Job, Output

PAIRS: list[tuple[Any, type[Schema]]] = [
    (responses.ErrorDetails, answers.JobErrorAnswer), (responses.LoadedModel, fleet_answers.LoadedModelAnswer),
    (responses.DeviceFacts, fleet_answers.DeviceAnswer), (responses.Slot, fleet_answers.SlotAnswer),
    (responses.Fleet, fleet_answers.FleetAnswer), (responses.WaitingJobs, fleet_answers.WaitingAnswer),
    (responses.Sample, fleet_answers.SampleAnswer), (responses.SlotHistory, fleet_answers.SlotHistoryAnswer),
    (responses.FleetHistory, fleet_answers.FleetHistoryAnswer),
    (responses.EtaAccuracy, fleet_answers.EtaAnswer), (responses.Queue, fleet_answers.QueueAnswer),
    (responses.Limit, fleet_answers.LimitAnswer), (responses.ModelCopy, fleet_answers.CopyAnswer),
    (responses.Model, fleet_answers.ModelAnswer), (responses.CommandOnSlot, fleet_answers.CommandOnSlotAnswer),
    (responses.ModelCommand, fleet_answers.ModelCommandAnswer), (responses.DeadLetter, fleet_answers.DeadLetterAnswer),
    (responses.KeyWebhook, fleet_answers.KeyWebhookAnswer),
    (responses.ServiceWebhook, fleet_answers.ServiceWebhookAnswer), (responses.Delivery, answers.DeliveryAnswer),
    (responses.TriedDelivery, answers.TriedDeliveryAnswer),
    (responses.Deliveries, answers.DeliveriesAnswer), (responses.Storage, fleet_answers.StorageAnswer),
    (responses.Used, usage.UsedAnswer), (responses.UsageRow, usage.UsageRowAnswer),
    (responses.Usage, usage.UsageAnswer),
    (responses.Stored, fleet_answers.StoredAnswer),
    (responses.Drain, fleet_answers.DrainAnswer), (responses.YieldedSlot, fleet_answers.YieldAnswer),
    (responses.Amount, fleet_answers.AmountAnswer),
    (responses.Retention, fleet_answers.RetentionAnswer), (responses.Disk, fleet_answers.DiskAnswer),
]  # fmt: skip


def keys(schema: type[Schema], *, optional: bool = False) -> set[str]:
    fields = schema().fields.items()
    return {field.data_key or name for name, field in fields if not (optional and field.required)}


@pytest.mark.parametrize(("kind", "schema"), PAIRS)
def test_the_keys_are_those_of_the_server(kind: Any, schema: type[Schema]) -> None:
    hints = get_type_hints(kind, include_extras=True)
    assert {*hints} == keys(schema)
    optional = {name for name, hint in hints.items() if get_origin(hint) is NotRequired or not kind.__total__}
    assert optional == keys(schema, optional=True)


def test_every_type_is_compared() -> None:
    kinds = {value for value in vars(responses).values() if hasattr(value, "__required_keys__")}
    assert kinds == {kind for kind, _ in PAIRS}


#: Fields of a job that the client shows under other names, or leaves to ``raw``.
ELSEWHERE = {"progress", "error", "preview", "class", "priority", "retention", "command", "computed_at"}


def test_a_job_has_every_field_that_programs_need() -> None:
    assert keys(answers.JobAnswer) - ELSEWHERE <= {*Job.__dataclass_fields__}
    assert keys(answers.OutputAnswer) - {"moderated"} <= {*Output.__dataclass_fields__}
