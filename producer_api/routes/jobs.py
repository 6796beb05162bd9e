"""Jobs: submit, read, list."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from producer_api.access.caller import caller_of
from producer_api.context import API, Api, jobs_of
from producer_api.http.accept import prefers_picture
from producer_api.http.body import read_body
from producer_api.http.documents import JobList
from producer_api.http.forms import FIELDS, SubmitBody, from_fields, parse_json
from producer_api.http.job_documents import JobDocument
from producer_api.http.multipart import FormSpec, read_form
from producer_api.http.problems import Problem, field_problem
from producer_api.http.query import (
    job_id_of,
    json_answer,
    prefer_wait,
    query_cursor,
    query_int,
    query_time,
    query_values,
    query_wait,
    traceparent_of,
    unknown_job,
)
from producer_api.http.rate_limits import note_limits
from producer_api.http.routing import FILE, TEXT, Docs, Route
from producer_api.ids import id_of_key, may_be_chosen, new_id
from producer_api.jobs.staging import Staging
from producer_api.jobs.submit import Submission, SubmitRequest
from producer_api.read_model.listing import ListFilter
from producer_api.read_model.records import JobRecord
from producer_api.routes.picture import DEFAULT_OPERATION, check_picture_request, picture_answer
from schemas.jobs import JobStatus

_FORM = FormSpec(files=frozenset({"image"}), fields=FIELDS, url_fields=frozenset({"image_url"}))
_MAX_KEY_CHARACTERS = 255
_PAGE = 20
_MAX_PAGE = 100


async def create_job(request: web.Request) -> web.Response:
    """POST /v1/jobs

    With an Accept header that asks for `image/*` or `application/octet-stream`, a request with one
    image waits for the end of the job and is answered with the picture. It needs no operation
    then: remove-background is the default.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return await _submit(request, new_id(), keyed=False)
    # aiohttp decodes bytes that are no UTF-8 to surrogates, which are not printable.
    if not (0 < len(key) <= _MAX_KEY_CHARACTERS and key.isprintable()):
        raise Problem(
            400,
            "key_invalid",
            f"Idempotency-Key must be 1 to {_MAX_KEY_CHARACTERS} printable letters.",
        )
    return await _submit(request, id_of_key(key, caller_of(request).owner), keyed=True)


async def put_job(request: web.Request) -> web.Response:
    """PUT /v1/jobs/{job_id}"""
    job_id = request.match_info["job_id"]
    if not may_be_chosen(job_id):
        raise field_problem(
            "id",
            "expected a UUID, or 8 to 64 letters, digits, _ and - (key- and a UUID is the id of an "
            "Idempotency-Key)",
            code="id_invalid",
        )
    return await _submit(request, job_id, keyed=True)


async def _submit(request: web.Request, job_id: str, *, keyed: bool) -> web.Response:
    api, caller = request.app[API], caller_of(request)
    api.submitter.check_open(caller, keyed=keyed)
    picture = prefers_picture(request.headers.get("Accept", ""))
    async with api.submitter.staging(job_id, keyed=keyed) as staging:
        body = await _read(request, api, staging)
        if picture:
            check_picture_request(caller, len(staging.images) + len(body.inputs))
            body = _with_default_operation(body)
        asked = SubmitRequest(
            job_id, body, caller, keyed=keyed, traceparent=traceparent_of(request)
        )
        submission = await api.submitter.submit(asked, staging)
    note_limits(request, submission.limits)
    if picture:
        return await _picture(request, api, submission)
    return await _accepted(request, api, submission)


def _with_default_operation(body: SubmitBody) -> SubmitBody:
    if body.operation or body.operations or body.template:
        return body
    return body.model_copy(update={"operation": DEFAULT_OPERATION})


async def _picture(request: web.Request, api: Api, submission: Submission) -> web.Response:
    limit_s = api.settings.wait_limit_s
    preferred_s = prefer_wait(request, limit_s)
    wait_s = limit_s if preferred_s is None else preferred_s
    record = submission.record
    if not record.state.status.ended:
        record = await jobs_of(request).wait_ended(record.state.job_id, wait_s) or record
    return await picture_answer(api.store, record, wait_s)


async def _read(request: web.Request, api: Api, staging: Staging) -> SubmitBody:
    limits = api.submitter.limits.form
    if request.content_type == "application/json":
        return parse_json(await read_body(request, limits.max_field_bytes), SubmitBody)
    form = await read_form(request, _FORM, limits, staging)
    return from_fields(form.fields)


async def _accepted(request: web.Request, api: Api, submission: Submission) -> web.Response:
    """Answer 202 with the job; 200 when it has ended, before or within the wait preferred."""
    record = submission.record
    headers = {"Location": f"/v1/jobs/{record.state.job_id}"}
    if submission.repeat:
        headers["Idempotent-Replayed"] = "true"
    wait_s = prefer_wait(request, api.settings.wait_limit_s)
    if wait_s is not None:
        headers["Preference-Applied"] = f"wait={wait_s:g}"
        if not record.state.status.ended:
            record = await jobs_of(request).wait_ended(record.state.job_id, wait_s) or record
    status = 200 if record.state.status.ended else 202
    return json_answer(JobDocument.of(record, api.object_urls), status=status, headers=headers)


async def get_job(request: web.Request) -> web.Response:
    """GET /v1/jobs/{job_id}?wait="""
    record = await wait_for_job(request)
    return json_answer(JobDocument.of(record, request.app[API].object_urls))


async def wait_for_job(request: web.Request) -> JobRecord:
    """Return the job of the path as soon as it has ended, or after `?wait=`. Raises as find.

    Raises:
        Problem: 404 when there is no such job.
    """
    jobs = jobs_of(request)
    job_id = job_id_of(request)
    wait_s = query_wait(request, request.app[API].settings.wait_limit_s)
    record = await (jobs.wait_ended(job_id, wait_s) if wait_s else jobs.find(job_id))
    if record is None:
        raise unknown_job(job_id)
    return record


async def list_jobs(request: web.Request) -> web.Response:
    """GET /v1/jobs"""
    statuses = query_values(request, "status")
    for status in statuses:
        if status not in set(JobStatus):
            words = ", ".join(JobStatus)
            raise field_problem("status", f"expected one of {words}", code="query_invalid")
    wanted = ListFilter(
        statuses=statuses,
        operations=query_values(request, "operation"),
        since=query_time(request, "since"),
        until=query_time(request, "until"),
    )
    limit = query_int(request, "limit", _PAGE, 1, _MAX_PAGE)
    urls = request.app[API].object_urls
    records, following = await jobs_of(request).list(wanted, limit, query_cursor(request))
    return json_answer(
        {
            "jobs": [JobDocument.of(record, urls) for record in records],
            "next_cursor": following.encode() if following else None,
        }
    )


_REPEATED = {"type": "array", "items": TEXT}
_FORM_DOCS = {
    "image": {"type": "array", "items": FILE},
    "image_url": _REPEATED,
    **{name: TEXT for name in sorted(FIELDS - {"image_url"})},
}
_WAIT_HEADER = {"Prefer": {"type": "string", "description": "wait=N: answer 200 if it ends in N s"}}
_ACCEPT = {
    "type": "string",
    "description": "image/*: wait for the end of a job of one image, and answer with the picture",
}
_ENDED_OR_NOT = {200: JobDocument, 202: JobDocument}
_PUT_DOCS = Docs(
    headers={"Accept": _ACCEPT} | _WAIT_HEADER,
    body=SubmitBody,
    form=_FORM_DOCS,
    answers=_ENDED_OR_NOT,
    media={200: "image/*"},
)
_CREATE_DOCS = replace(_PUT_DOCS, headers={"Idempotency-Key": TEXT, **_PUT_DOCS.headers})
_GET_DOCS = Docs(
    query={"wait": {"type": "number", "description": "seconds to wait for the end"}},
    answers={200: JobDocument},
)
_LIST_DOCS = Docs(
    query={
        "status": _REPEATED,
        "operation": _REPEATED,
        "since": {"type": "string", "format": "date-time"},
        "until": {"type": "string", "format": "date-time"},
        "limit": {"type": "integer", "minimum": 1, "maximum": _MAX_PAGE, "default": _PAGE},
        "cursor": TEXT,
    },
    answers={200: JobList},
)

ROUTES = (
    Route("POST", "/v1/jobs", create_job, "Submit a job", "jobs", _CREATE_DOCS),
    Route("GET", "/v1/jobs", list_jobs, "List jobs, newest first", "jobs", _LIST_DOCS),
    Route("PUT", "/v1/jobs/{job_id}", put_job, "Submit under an id you choose", "jobs", _PUT_DOCS),
    Route("GET", "/v1/jobs/{job_id}", get_job, "Read a job, or await its end", "jobs", _GET_DOCS),
)
