"""Whatever is wrong with a request: a 4xx with a sentence, nothing queued, nothing stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.support.api import RunningApi, Topics
from tests.support.pictures import picture, png_header

GOOD = ("cup.jpg", picture())


@pytest.fixture(autouse=True)
def nothing_is_left(api: RunningApi, kafka: Topics) -> Iterator[None]:
    yield
    assert kafka.submissions() == []
    assert api.stored_files() == []


def refused(answer: requests.Response, status: int, code: str, *words: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["title"] and problem["type"].endswith(code)
    for word in words:
        assert word in problem["detail"]
    return problem


def send(api: RunningApi, image: tuple[str, bytes] = GOOD, **fields: str) -> requests.Response:
    form = {"operation": "detect-objects"} | fields
    return api.post("/v1/jobs", data=form, files={"image": image})


@pytest.mark.parametrize(
    ("image", "status", "code", "word"),
    [
        (("notes.jpg", b"just some text, no picture"), 415, "image_undecodable", "not an image"),
        (("paper.jpg", b"%PDF-1.7 and so on and so forth"), 415, "image_undecodable", "PDF"),
        (("cut.jpg", picture()[:-200]), 422, "image_undecodable", "cut off"),
        (("cut.png", picture("png")[:-30]), 422, "image_undecodable", "cut off"),
        (("empty.jpg", b""), 422, "image_undecodable", "empty"),
        (("cup.png", picture("jpeg")), 422, "image_undecodable", "cup.jpg"),
        (("cup.txt", picture("jpeg")), 415, "image_undecodable", "extension"),
        (("huge.png", png_header(10_000, 6_000)), 413, "image_too_large", "60.0 megapixels"),
    ],
    ids=[
        "no image", "a document", "cut JPEG", "cut PNG", "zero bytes", "wrong image extension",
        "foreign extension", "60 megapixel header",
    ],
)  # fmt: skip
def test_a_file_that_is_no_good_image(
    api: RunningApi, image: tuple[str, bytes], status: int, code: str, word: str
) -> None:
    problem = refused(send(api, image), status, code, word)
    assert image[0] in problem["detail"]
    assert problem["detail"].endswith(".")


def test_a_good_image_beside_a_bad_one_is_not_kept(api: RunningApi) -> None:
    files = [("image", GOOD), ("image", ("bad.jpg", b"no image at all"))]
    answer = api.post("/v1/jobs", data={"operation": "detect-objects"}, files=files)
    refused(answer, 415, "image_undecodable", "bad.jpg")


def test_thirty_megabytes(api: RunningApi) -> None:
    answer = send(api, ("big.jpg", picture() + b"\0" * 30_000_000))
    refused(answer, 413, "image_too_large", "big.jpg", "limit")


def test_a_body_of_unknown_length_is_cut_off_at_the_limit(api: RunningApi) -> None:
    read = 0

    def body() -> Iterator[bytes]:
        nonlocal read
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
        yield picture()
        for _ in range(400):
            read += 1
            yield b"\0" * 100_000

    try:
        answer = requests.post(
            f"{api.url}/v1/jobs", data=body(), timeout=20,
            headers={"Content-Type": "multipart/form-data; boundary=b"},
        )  # fmt: skip
    except requests.ConnectionError:
        # Answered and closed before all was sent, which some clients see only as a broken pipe.
        assert read < 400
    else:
        refused(answer, 413, "image_too_large")


def test_too_many_images(api: RunningApi) -> None:
    files = [("image", GOOD)] * (api.settings.max_items + 1)
    answer = api.post("/v1/jobs", data={"operation": "detect-objects"}, files=files)
    refused(answer, 413, "too_many_images", "100")


def test_too_many_urls_in_json(api: RunningApi) -> None:
    inputs = [{"url": "https://example.org/a.png"}] * (api.settings.max_items + 1)
    answer = api.post("/v1/jobs", json={"operation": "detect-objects", "inputs": inputs})
    refused(answer, 413, "too_many_images")


def test_no_image_at_all(api: RunningApi) -> None:
    refused(api.post("/v1/jobs", json={"operation": "detect-objects"}), 422, "image_missing")


def test_an_unknown_operation_is_told_with_the_known_ones(api: RunningApi) -> None:
    answer = send(api, operation="make-coffee")
    refused(answer, 422, "operation_unknown", "make-coffee", "detect-objects")


def test_no_operation(api: RunningApi) -> None:
    refused(send(api, operation=""), 422, "operation_missing", "detect-objects")


def test_params_that_are_no_json(api: RunningApi) -> None:
    problem = refused(send(api, params="{confidence: 1"), 422, "params_invalid", "params", "JSON")
    assert problem["errors"][0]["field"] == "params"


@pytest.mark.parametrize(
    ("params", "field"),
    [({"confidence": 7}, "params.confidence"), ({"sharpness": 1}, "params.sharpness")],
)
def test_params_that_do_not_fit(api: RunningApi, params: dict[str, Any], field: str) -> None:
    answer = send(api, params=json.dumps(params))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert field in answer.json()["detail"]


def test_unknown_fields_are_all_named(api: RunningApi) -> None:
    answer = send(api, colour="red", size="3")
    refused(answer, 422, "fields_unknown", "colour", "size")


def test_an_unknown_file_part_is_named(api: RunningApi) -> None:
    files = {"image": GOOD, "picture": GOOD}
    answer = api.post("/v1/jobs", data={"operation": "detect-objects"}, files=files)
    refused(answer, 422, "fields_unknown", "picture")


def test_unknown_members_of_json_are_named(api: RunningApi) -> None:
    answer = api.post("/v1/jobs", json={"operation": "noop", "colour": "red"})
    refused(answer, 422, "fields_unknown", "colour")


def test_json_that_is_none(api: RunningApi) -> None:
    headers = {"Content-Type": "application/json"}
    refused(api.post("/v1/jobs", data=b"{", headers=headers), 400, "body_invalid", "JSON")


def test_an_image_sent_as_text(api: RunningApi) -> None:
    answer = api.post("/v1/jobs", data={"operation": "detect-objects", "image": "cup.jpg"})
    refused(answer, 422, "fields_invalid", "image", "file")


@pytest.mark.parametrize(
    "body",
    [
        b"--b\r\nContent-Disposition: form-data; name=operation\r\n\r\nnoop",
        b"no parts at all",
        b"--b\r\nnonsense\r\n\r\n--b--\r\n",
    ],
)
def test_a_broken_multipart_body(api: RunningApi, body: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    refused(api.post("/v1/jobs", data=body, headers=headers), 400, "body_invalid")


def test_a_connection_that_breaks_in_the_middle(api: RunningApi) -> None:
    def body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
        yield picture()[:500]
        raise InterruptedError

    with pytest.raises((InterruptedError, requests.ConnectionError)):
        requests.post(
            f"{api.url}/v1/jobs", data=body(), timeout=20,
            headers={"Content-Type": "multipart/form-data; boundary=b"},
        )  # fmt: skip


def test_another_kind_of_body(api: RunningApi) -> None:
    headers = {"Content-Type": "text/plain"}
    answer = api.post("/v1/jobs", data=b"hello", headers=headers)
    refused(answer, 415, "content_type_unsupported")


@pytest.mark.parametrize("coding", ["br", "zstd", "foo", "gzip, gzip"])
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/uploads", "/v1/templates", "/predict"])
def test_a_content_coding_that_is_not_supported(api: RunningApi, path: str, coding: str) -> None:
    headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
    if path == "/predict":
        headers["Content-Type"] = "multipart/form-data; boundary=b"
    answer = api.post(path, data=b"not decoded", headers=headers)
    assert answer.headers["Accept-Encoding"] == "gzip, deflate, identity"
    if path == "/predict":
        assert (answer.status_code, list(answer.json())) == (400, ["error"])
        return
    refused(answer, 415, "content_encoding_unsupported", "gzip")


@pytest.mark.parametrize("url", ["ftp://example.org/a.png", "cup.png", "http://u:p@example.org/"])
def test_urls_of_another_form(api: RunningApi, url: str) -> None:
    answer = api.post("/v1/jobs", json={"operation": "detect-objects", "inputs": [{"url": url}]})
    assert answer.status_code == 422
    assert "inputs.0" in answer.json()["detail"]


def test_an_unknown_template(api: RunningApi) -> None:
    refused(api.post("/v1/jobs", json={"template": "nightly"}), 422, "not_found", "nightly")


def test_an_upload_that_was_never_made(api: RunningApi) -> None:
    body = {"operation": "detect-objects", "inputs": [{"upload_id": "nothing-here"}]}
    refused(api.post("/v1/jobs", json=body), 422, "not_found", "nothing-here")


@pytest.mark.parametrize("key", [b"order-\xff", b"order-\xc3", "k\u0085".encode(), b""])
def test_a_key_that_is_no_text(api: RunningApi, key: bytes) -> None:
    answer = api.post("/v1/jobs", json={"operation": "noop"}, headers={"Idempotency-Key": key})
    refused(answer, 400, "key_invalid", "printable")


@pytest.mark.parametrize("limit", ["9" * 5000, "0", "-1", "1.5", "\u0661"])
def test_a_page_of_no_possible_length(api: RunningApi, limit: str) -> None:
    refused(api.get(f"/v1/jobs?limit={limit}"), 422, "query_invalid", "whole number")


def test_a_job_id_that_none_may_have(api: RunningApi) -> None:
    answer = api.put("/v1/jobs/a%20b", json={"operation": "noop"})
    refused(answer, 422, "id_invalid", "letters")
