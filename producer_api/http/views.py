"""Jobs as the native API shows them."""

from __future__ import annotations

from typing import Any

from producer_api.read_model.queries import JobRecord
from schemas.errors import JobError
from schemas.jobs import Item, ItemInput


def job_view(record: JobRecord) -> dict[str, Any]:
    """A job as http.md has it; JSON values only."""
    state = record.state
    progress = state.progress
    view = {
        "id": state.job_id,
        "operation": state.operation,
        "params": state.params,
        "priority": state.priority.value,
        "status": state.status.value,
        "progress": {
            "total": progress.total,
            "processed": progress.processed,
            "failed": progress.failed,
        },
        "items": [_item_view(record, item) for item in record.items],
        "error": error_view(state.error),
        "attempts": state.attempts,
        "created_at": state.created_at,
        "started_at": state.started_at,
        "finished_at": state.finished_at if state.status.ended else None,
        "metadata": state.metadata,
        "model": state.model,
        "links": job_links(state.job_id),
    }
    if state.pipeline:
        view["operations"] = [step.model_dump(mode="json") for step in state.pipeline]
    for name in ("template", "dialect", "expires_at"):
        value = getattr(state, name)
        if value is not None:
            view[name] = value
    return view


def job_links(job_id: str) -> dict[str, str]:
    """The paths that go on from a job."""
    path = f"/v1/jobs/{job_id}"
    return {"self": path, "events": f"{path}/events", "cancel": f"{path}/cancel"}


def error_view(error: JobError | None) -> dict[str, str] | None:
    """An error as events and answers carry it."""
    return None if error is None else error.model_dump(mode="json")


def _item_view(record: JobRecord, item: Item) -> dict[str, Any]:
    given = record.inputs[item.index] if item.index < len(record.inputs) else ItemInput()
    filename = given.filename if item.filename is None else item.filename
    path = f"/v1/jobs/{record.state.job_id}/items/{item.index}"
    links = {"input": f"{path}/input"} if given.key is not None else {}
    if item.result is not None:
        links["result"] = f"{path}/result"
    return {
        "index": item.index,
        "filename": filename,
        "status": item.status.value,
        "attempts": item.attempts,
        "result": item.result,
        "error": error_view(item.error),
        "timings_ms": item.timings_ms,
        "links": links,
    }
