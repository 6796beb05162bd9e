"""Cancelling a job."""

from __future__ import annotations

from aiohttp import web

from producer_api.access.authenticate import authorize_change
from producer_api.access.caller import caller_of
from producer_api.context import API, jobs_of
from producer_api.http.job_documents import JobDocument
from producer_api.http.problems import Problem
from producer_api.http.query import job_id_of, json_answer, unknown_job
from producer_api.http.routing import Docs, Route
from schemas.jobs import JobStatus


async def cancel_job(request: web.Request) -> web.Response:
    """POST /v1/jobs/{job_id}/cancel

    200 with the cancelled job; 409 when it ended before; 202 when no processor has decided the
    request in time, which then stays in the log.
    """
    api = request.app[API]
    job_id = job_id_of(request)
    jobs = jobs_of(request)
    record = await jobs.find(job_id)
    if record is None:
        raise unknown_job(job_id)
    authorize_change(caller_of(request), record.state.owner)
    if record.state.status.ended:
        raise already_ended(record.state.status)
    record = jobs.shown(await api.canceller.cancel(record)) or record
    if record.state.status is JobStatus.CANCELLED:
        return json_answer(JobDocument.of(record, api.object_urls))
    if record.state.status.ended:
        raise already_ended(record.state.status)
    return json_answer(JobDocument.of(record, api.object_urls), status=202)


def already_ended(status: JobStatus) -> Problem:
    """Make the answer to a cancel request for an ended job."""
    return Problem(
        409, "job_ended", f"The job has already ended: it is {status.value}.",
        job_status=status.value,
    )  # fmt: skip


_DOCS = Docs(answers={200: JobDocument, 202: JobDocument})

ROUTES = (Route("POST", "/v1/jobs/{job_id}/cancel", cancel_job, "Cancel a job", "jobs", _DOCS),)
