"""Every field of the contract is described, and the job's shapes show the same fields."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from schemas import cloudevents
from schemas.audit import AuditRecord
from schemas.base import Frozen
from schemas.catalog import BUILTIN
from schemas.errors import ErrorCode, JobError
from schemas.events import EVENTS, ItemFinished, JobFinished
from schemas.jobs import NOT_PUBLISHED, FinishedJob, Item, Job, JobState, JobStatus, Progress
from schemas.templates import Template
from schemas.webhooks import (
    WEBHOOK_COMMANDS,
    WEBHOOK_EVENTS,
    EndpointStatus,
    WebhookEndpoint,
)
from schemas.workers import Heartbeat
from tests.support.facts import Reader, cancel, item_fact, job

SAMPLES = Path(__file__).parent / "samples"
PUBLISHED = (
    *EVENTS.values(),
    *WEBHOOK_EVENTS.values(),
    *WEBHOOK_COMMANDS.values(),
    WebhookEndpoint,
    EndpointStatus,
    *(spec.params for spec in BUILTIN),
    JobState,
    Item,
    Progress,
    Heartbeat,
    Template,
    AuditRecord,
)


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    """The model and those within it."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        for field in kind.model_fields.values():
            yield from _models(field.annotation)
    for part in get_args(kind):
        yield from _models(part)


MODELS = sorted({m for kind in PUBLISHED for m in _models(kind)}, key=lambda model: model.__name__)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_is_described_by_a_sentence(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        sentence = field.description or ""
        assert sentence.endswith(".") and len(sentence.split()) > 2, f"{name}: {sentence!r}"


def test_the_models_within_others_are_found() -> None:
    found = {model.__name__ for model in MODELS}
    assert {
        "Step",
        "ItemInput",
        "Webhook",
        "KnownModel",
        "JobError",
        "Progress",
        "Resize",
        "StepBody",
    } <= found


def test_the_end_of_a_job_shows_every_field_of_its_state() -> None:
    """A new field of Job or JobState is published, or said not to be."""
    shown = set(FinishedJob.model_fields) - {"progress"}
    assert shown == set(JobState.model_fields) - NOT_PUBLISHED
    assert set(JobFinished.model_fields) == set(FinishedJob.model_fields)


@pytest.mark.parametrize("name", sorted(set(FinishedJob.model_fields) - {"progress"}))
def test_a_field_is_the_same_in_the_state_and_in_the_end(name: str) -> None:
    field, known = FinishedJob.model_fields[name], JobState.model_fields[name]
    # An ended job has the time of its end.
    expected = str if name == "finished_at" else known.annotation
    assert field.annotation == expected
    assert field.description == known.description
    assert field.metadata == known.metadata


def test_the_members_of_the_end_keep_their_order() -> None:
    """Clients that store the bytes, or compare them, find no difference between versions."""
    reader = Reader().read([item_fact(ItemFinished, job(1), 0)])
    written = json.loads(cloudevents.encode(reader.finished[0]).value)
    sample = json.loads((SAMPLES / "job.finished.v1.json").read_text())["value"]
    assert list(written) == list(JobFinished.model_fields)
    assert [name for name in written if name in sample] == list(sample)


def test_an_end_whose_fields_do_not_fit_is_refused() -> None:
    reader = Reader().read([cancel(job(1))])
    assert reader.state is not None
    with pytest.raises(ValueError, match="attempts"):
        JobFinished.of(reader.state.evolve(attempts=-1))


def test_a_forgotten_field_is_noticed_where_the_instance_is_built() -> None:
    with pytest.raises(AssertionError, match=r"ItemFinished: missing .*'timings_ms'"):
        ItemFinished.trusted(job_id="j", index=0, at="", started_at="")
    with pytest.raises(AssertionError, match=r"Progress: missing \['failed'\]"):
        Progress.from_all({"total": 1, "processed": 0})


@pytest.mark.parametrize(
    "build",
    [
        lambda: Job.trusted(job_id="j", colour="red"),
        lambda: Job.trusted(job_id="j").evolve(colour="red"),
        lambda: Progress.from_all({"total": 1, "processed": 0, "failed": 0, "colour": "red"}),
    ],
)
def test_a_field_that_the_model_does_not_have_is_noticed_too(build: Any) -> None:
    with pytest.raises(AssertionError, match="colour"):
        build()


def test_instances_built_without_validation_equal_validated_ones() -> None:
    class Pair(Frozen):
        left: int
        right: str = "r"

    assert Pair.trusted(left=1) == Pair(left=1) == Pair(left=2).evolve(left=1)
    error = JobError.of(ErrorCode.CANCELLED, "x")
    assert error == JobError.model_validate(error.model_dump())
    assert Item.trusted(index=0, status=JobStatus.FAILED, error=error) == Item(
        index=0, status=JobStatus.FAILED, error=error
    )
