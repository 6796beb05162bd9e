"""Jobs as readers of the API see them, made from the messages in the file."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from schemas.events import JobSubmitted
from schemas.jobs import (
    LETTERS,
    MAX_ITEMS,
    STATUS_OF_LETTER,
    Item,
    ItemInput,
    Job,
    JobState,
    JobStatus,
)
from schemas.reducer import complete_items

# Of so many digits a number may need more than 64 bits: it is read, but JSON writers refuse it.
_LONG_NUMBER = re.compile(rb"\d{19}")

log = logging.getLogger(__name__)

Document = TypeVar("Document", bound=BaseModel)


@dataclass(frozen=True)
class JobRecord:
    """A job: its state, its items in order, and its inputs, empty where they are not known."""

    state: JobState
    items: tuple[Item, ...]
    inputs: tuple[ItemInput, ...]

    @classmethod
    def of_submission(cls, job: JobSubmitted) -> JobRecord:
        """Make the record of a job that no state is known of: all its items are queued."""
        outcomes = LETTERS[JobStatus.QUEUED] * job.total
        state = JobState.trusted(**job.header().__dict__, outcomes=outcomes)
        return cls(state, complete_items(state, {}, job.inputs), job.inputs)

    @classmethod
    def of_row(
        cls,
        job_id: str,
        submitted: bytes | None,
        state: bytes | None,
        items: Mapping[int, bytes],
    ) -> JobRecord | None:
        """Make the record of a row and the job's item rows; None when neither message is valid."""
        job = decoded(job_id, JobSubmitted, submitted)
        known = _consistent(decoded(job_id, JobState, state))
        if known is None:
            return None if job is None else cls.of_submission(job)
        if job is not None and not known.total:
            # The state came before its submission and lacks the header.
            header = {name: getattr(job, name) for name in Job.model_fields}
            outcomes = known.outcomes.ljust(job.total, LETTERS[JobStatus.QUEUED])
            known = known.model_copy(update=header | {"outcomes": outcomes})
        elif job is not None and known.owner is None and job.owner is not None:
            # A worker of a version that knows no owners wrote the state.
            known = known.model_copy(update={"owner": job.owner})
        inputs = job.inputs if job else ()
        return cls(
            known, known.items or complete_items(known, _items(job_id, items), inputs), inputs
        )


def decoded(name: str, model: type[Document], document: bytes | None) -> Document | None:
    """Decode a message; None when there is none, or it is invalid in what changes.py leaves out."""
    if document is None:
        return None
    try:
        read = model.model_validate_json(document)
        if _LONG_NUMBER.search(document):
            orjson.dumps(read.model_dump(mode="json"))
    except (ValidationError, TypeError) as error:
        log.warning("The %s %s is invalid: %s", model.__name__, name, error)
        return None
    return read


def _items(job_id: str, documents: Mapping[int, bytes]) -> dict[int, Item]:
    found = {index: decoded(job_id, Item, document) for index, document in documents.items()}
    return {
        index: item for index, item in found.items() if item is not None and item.index == index
    }


def _consistent(state: JobState | None) -> JobState | None:
    """Return the state; None if its outcomes or items are such as only a foreign writer makes."""
    if state is None or (
        STATUS_OF_LETTER.keys() >= set(state.outcomes)
        and all(0 <= item.index < MAX_ITEMS for item in state.items)
    ):
        return state
    log.warning("The state of job %s is invalid: it contradicts itself", state.job_id)
    return None
