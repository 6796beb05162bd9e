"""Facts of jobs as Hypothesis draws them, and a reader that applies them as the tracker does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from schemas import cloudevents
from schemas.errors import ErrorCode, JobError
from schemas.events import (
    CancelRequested,
    Fact,
    ItemFact,
    ItemFailed,
    ItemFinished,
    ItemRetrying,
    ItemStarted,
    JobAccepted,
    JobFinished,
    JobSubmitted,
)
from schemas.jobs import Item, ItemInput, JobState
from schemas.reducer import apply, complete_items, with_items
from schemas.times import from_epoch

_EPOCH = 1_770_000_000.0


def at(second: float) -> str:
    """Timestamp of a second after the tests' epoch."""
    return from_epoch(_EPOCH + second)


def job(total: int, job_id: str = "job") -> JobSubmitted:
    """Make a job of `total` images."""
    return JobSubmitted(
        job_id=job_id,
        operation="noop",
        total=total,
        created_at=at(0),
        metadata={"order": 7, "note": None},
        inputs=tuple(
            ItemInput(filename=f"{index}.png", key=f"uploads/{job_id}/{index}")
            for index in range(total)
        ),
    )


def accepted(submitted: JobSubmitted) -> JobAccepted:
    """Make the fact that a batch was fanned out."""
    return JobAccepted(job_id=submitted.job_id, at=at(0.1), job=submitted.header())


def cancel(submitted: JobSubmitted, second: float = 50.0) -> CancelRequested:
    """Make a cancel request."""
    return CancelRequested(job_id=submitted.job_id, at=at(second), job=submitted)


def item_fact(kind: type[ItemFact], submitted: JobSubmitted, index: int, **fields: Any) -> ItemFact:
    """Make a fact of one item as the processor does: a job of one has its header in it."""
    second = fields.pop("second", 10.0 + index)
    attempt = fields.pop("attempt", 1)
    fixed: dict[str, Any] = {
        "job_id": submitted.job_id,
        "job": submitted.header() if submitted.total == 1 else None,
        "index": index,
        "attempt": attempt,
        "filename": f"{index}.png",
        "at": at(second),
    }
    ended = {"started_at": at(second - 1), "timings_ms": {"infer": 1000.0}}
    if kind is ItemFinished:
        model = {"name": fields.pop("model", "u2netp"), "sha256": "00"}
        fixed |= ended | {"result": {"key": f"results/job/{index}.png"}, "model": model}
    elif kind is ItemFailed:
        fixed |= ended | {"error": JobError.of(ErrorCode.TIMEOUT, f"item {index} took too long")}
    elif kind is ItemRetrying:
        error = JobError.of(ErrorCode.URL_UNREACHABLE, "no route")
        fixed |= {"error": error, "due_at": at(second + 1)}
    return kind(**(fixed | fields))


def unreadable(submitted: JobSubmitted, index: int | None = None, attempt: int = 1) -> ItemFailed:
    """Make the failure of an undecodable submission, or of an undecodable attempt of an item."""
    job = submitted.header().evolve(total=1) if index is None else None
    return ItemFailed(
        job_id=submitted.job_id,
        job=job,
        index=index or 0,
        attempt=attempt,
        at=at(5),
        error=JobError.of(ErrorCode.INTERNAL, "cannot be read"),
        timings_ms={},
        unreadable=True,
    )


def one_item(submitted: JobSubmitted, index: int) -> st.SearchStrategy[list[ItemFact]]:
    """Draw the facts of one item in the order of a worker: attempts, then perhaps the end."""

    def facts(tries: int, starts: list[bool], end: str, second: int, model: str) -> list[ItemFact]:
        made: list[ItemFact] = []
        for attempt in range(1, tries + 1):
            moment = second + 10 * attempt
            if starts[attempt - 1]:
                made.append(
                    item_fact(ItemStarted, submitted, index, attempt=attempt, second=moment)
                )
            if attempt < tries:
                made.append(
                    item_fact(ItemRetrying, submitted, index, attempt=attempt, second=moment + 2)
                )
        fields: dict[str, Any] = {"attempt": tries, "second": second + 10 * tries + 3}
        if end == "s":
            made.append(item_fact(ItemFinished, submitted, index, model=model, **fields))
        elif end == "f":
            made.append(item_fact(ItemFailed, submitted, index, **fields))
        return made

    return st.builds(
        facts,
        st.integers(1, 3),
        st.lists(st.booleans(), min_size=3, max_size=3),
        st.sampled_from("sf."),
        st.integers(10, 30),
        st.sampled_from(["u2netp", "u2net"]),
    )


def histories(
    max_total: int = 4, ends: bool = False
) -> st.SearchStrategy[tuple[JobSubmitted, list[list[ItemFact]]]]:
    """Draw a job and the facts of each of its items; with `ends`, every item ends."""

    def of(total: int) -> st.SearchStrategy[tuple[JobSubmitted, list[list[ItemFact]]]]:
        submitted = job(total)
        items = [one_item(submitted, index) for index in range(total)]
        if ends:
            items = [facts.filter(_ends) for facts in items]
        return st.tuples(st.just(submitted), st.tuples(*items).map(list))

    return st.integers(1, max_total).flatmap(of)


def _ends(facts: list[ItemFact]) -> bool:
    return bool(facts) and isinstance(facts[-1], ItemFinished | ItemFailed)


@st.composite
def interleaved(draw: st.DrawFn, lanes: list[list[Any]]) -> list[Any]:
    """Draw one order of all facts that keeps the order within each lane."""
    left = [list(lane) for lane in lanes if lane]
    merged = []
    while left:
        lane = draw(st.sampled_from(left))
        merged.append(lane.pop(0))
        left = [other for other in left if other]
    return merged


class Reader:
    """Applies facts with the items beside the state, through bytes, as table and projection do."""

    def __init__(self) -> None:
        self.state: JobState | None = None
        self.items: dict[int, Item] = {}
        self.finished: list[JobFinished] = []
        self._inputs: tuple[ItemInput, ...] = ()

    def read(self, facts: Iterable[Fact]) -> Reader:
        """Apply facts one after the other; returns itself."""
        for fact in facts:
            self._apply(fact)
        return self

    def _apply(self, fact: Fact) -> None:
        decoded = cloudevents.decode(*reversed(cloudevents.encode(fact)))
        assert isinstance(decoded, Fact)
        index = getattr(decoded, "index", None)
        item = self.items.get(index) if index is not None else None
        ended_before = self.state is not None and self.state.status.ended
        applied = apply(self.state, item, decoded)
        if self.state is None and not applied.changed:
            return
        state = applied.state
        if applied.item is not None:
            self.items[applied.item.index] = cloudevents.decode_item(
                cloudevents.encode_item(state.job_id, applied.item).value
            )
        self._inputs = getattr(decoded.job, "inputs", ()) or self._inputs
        if state.status.ended and not ended_before:
            state = with_items(state, complete_items(state, self.items, self._inputs))
        self.state = cloudevents.decode_state(cloudevents.encode_state(state).value)
        if self.state.status.ended:
            self.finished.append(JobFinished.of(self.state))

    @property
    def public(self) -> dict[str, Any]:
        """All fields of the state but its revision."""
        assert self.state is not None
        return self.state.model_dump(exclude={"revision"})
