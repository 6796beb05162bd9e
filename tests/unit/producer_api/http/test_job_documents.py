"""Jobs as the native API shows them."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import parse_qsl

import orjson
import pytest

from imagemill.storage import FixedLifetime, LocalStore, ObjectUrls, UrlSigner
from imagemill.storage.signing import ApiUrls
from producer_api.http.job_documents import _NOT_SHOWN, ItemDocument, JobDocument
from producer_api.read_model.records import JobRecord
from schemas.errors import ErrorCode, JobError
from schemas.jobs import Item, JobState, JobStatus, Step
from tests.support.messages import CREATED, submitted


def ended(url: str | None = None, **fields: object) -> JobRecord:
    """A job of two images, of which the second failed; `url` is that of the first's result."""
    job = submitted("job-00001", total=2, **fields)
    error = JobError.of(ErrorCode.IMAGE_UNDECODABLE, "It is no image.")
    result = {"key": "results/job-00001/0.png", "width": 5, "data": {"text": "a"}}
    if url is not None:
        result["url"] = url
    items = (
        Item(
            index=0, filename="0.jpg", status=JobStatus.SUCCEEDED, attempts=1, result=result,
            timings_ms={"infer": 1.5}, started_at=CREATED, finished_at=CREATED,
        ),
        Item(index=1, status=JobStatus.FAILED, attempts=2, error=error),
    )  # fmt: skip
    state = JobState(
        **dict(job.header()), status=JobStatus.SUCCEEDED, outcomes="sf", items=items, attempts=2,
        started_at=CREATED, finished_at=CREATED,
    )  # fmt: skip
    return JobRecord(state, items, job.inputs)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {
            "pipeline": (Step(operation="noop"),), "template": "finder", "dialect": "inference",
            "expires_at": CREATED,
        },
    ],
)  # fmt: skip
def test_a_job_is_served_as_it_is_documented(fields: dict) -> None:
    record = ended(**fields)
    served = orjson.loads(orjson.dumps(JobDocument.of(record)))
    read = JobDocument.model_validate(served).model_dump(mode="json", exclude_unset=True)
    assert read == served


def test_the_members_of_a_job_are_those_of_version_1_in_their_order() -> None:
    record = ended(pipeline=(Step(operation="noop"),), template="finder", dialect="inference")
    served = orjson.loads(orjson.dumps(JobDocument.of(record)))
    assert " ".join(served) == (
        "id operation params priority status progress items error attempts created_at started_at "
        "finished_at metadata model links operations template dialect"
    )
    assert " ".join(served["items"][0]) == (
        "index filename status attempts result error timings_ms links"
    )
    assert served["progress"] == {"total": 2, "processed": 2, "failed": 1}
    assert served["operations"] == [{"operation": "noop", "params": {}}]
    assert served["items"][1]["filename"] == "1.jpg"
    assert served["items"][1]["error"]["code"] == "image_undecodable"
    path = "/v1/jobs/job-00001"
    assert served["links"]["cancel"] == f"{path}/cancel"
    assert served["items"][0]["links"] == {
        "input": f"{path}/items/0/input", "result": f"{path}/items/0/result",
    }  # fmt: skip
    assert served["items"][1]["links"] == {"input": f"{path}/items/1/input"}


def test_every_field_of_a_job_is_shown_or_kept_on_purpose() -> None:
    assert JobState.model_fields.keys() <= JobDocument.model_fields.keys() | _NOT_SHOWN
    assert not JobDocument.model_fields.keys() & _NOT_SHOWN


def test_every_member_of_a_job_is_described() -> None:
    for model in (JobDocument, ItemDocument):
        assert [n for n, field in model.model_fields.items() if not field.description] == []


def test_a_job_has_no_end_while_items_run() -> None:
    record = ended()
    running = record.state.evolve(status=JobStatus.RUNNING)
    document = JobDocument.of(JobRecord(running, record.items, record.inputs))
    assert document["finished_at"] is None
    assert JobDocument.of(record)["finished_at"] == CREATED


def test_an_expired_url_of_a_result_is_renewed_in_the_document(tmp_path: Path) -> None:
    signer = UrlSigner("sixteen letters!")
    store = LocalStore(tmp_path, "https://images.example", signer)
    expired = ApiUrls("https://images.example", signer).get("results/job-00001/0.png", -60)
    record = ended(url=expired)
    urls = ObjectUrls(store, None, FixedLifetime(3600))

    renewed = JobDocument.of(record, urls)["items"][0]["result"]["url"]

    key, _, query = renewed.removeprefix("https://images.example/files/").partition("?")
    assert signer.verify("GET", key, dict(parse_qsl(query))).expires > time.time() + 3500
    assert record.items[0].result["url"] == expired
    assert JobDocument.of(record)["items"][0]["result"]["url"] == expired
