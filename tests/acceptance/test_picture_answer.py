"""The picture in the answer to the request that asks for it."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from tests.acceptance.support.system import System
from tests.acceptance.support.tokens import Tokens
from tests.support.pictures import picture


def ask(system: System, data: dict[str, Any], *, count: int = 1, **headers: str):
    files = [("image", (f"{n}.png", picture("png"), "image/png")) for n in range(count)]
    return requests.post(
        f"{system.url}/v1/jobs",
        files=files,
        data=data,
        headers={"Accept": "image/*"} | headers,
        timeout=90,
    )


def test_curl_writes_the_cut_out_of_a_photo(system: System, photos: Path, tmp_path: Path) -> None:
    out, headers = tmp_path / "out.png", tmp_path / "headers"
    command = ["curl", "-sf", "-H", "Accept: image/*", "-F", f"image=@{photos / 'astronaut.png'}"]
    subprocess.run([*command, "-D", headers, "-o", out, f"{system.url}/v1/jobs"], check=True)
    with Image.open(out) as cut:
        assert (cut.format, cut.mode, cut.size) == ("PNG", "RGBA", (512, 512))
        assert cut.getpixel((500, 240))[3] < 30 and cut.getpixel((230, 140))[3] > 220
    said = requests.structures.CaseInsensitiveDict(
        line.split(": ", 1) for line in headers.read_text().splitlines() if ": " in line
    )
    assert said["Imagemill-Model"] == "u2netp"
    assert said["Location"] == f"/v1/jobs/{said['Imagemill-Job']}"
    assert "total;dur=" in said["Server-Timing"] and "infer;dur=" in said["Server-Timing"]
    job = system.job(said["Imagemill-Job"])
    assert (job["status"], job["operation"]) == ("succeeded", "remove-background")


def test_octet_stream_is_answered_with_the_type_that_was_made(system: System) -> None:
    asked = {"operation": "transform", "params": '{"format": "webp"}'}
    answer = ask(system, asked, Accept="application/octet-stream")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/webp")
    assert Image.open(io.BytesIO(answer.content)).format == "WEBP"


def test_a_repeat_under_a_key_is_the_same_picture(system: System) -> None:
    asked, key = {"operation": "transform"}, {"Idempotency-Key": "picture-repeat"}
    first, second = (ask(system, asked, **key) for _ in range(2))
    assert first.headers["Imagemill-Job"] == second.headers["Imagemill-Job"]
    assert first.content == second.content


@pytest.mark.parametrize(
    ("data", "count", "status", "code"),
    [
        ({"operation": "transform"}, 2, 406, "one_image_expected"),
        ({"operation": "transform"}, 0, 406, "one_image_expected"),
        ({"operation": "detect-objects"}, 1, 406, "no_picture"),
        ({"operation": "nothing-known"}, 1, 422, "operation_unknown"),
    ],
)
def test_what_has_no_picture_is_a_problem(
    system: System, data: dict[str, Any], count: int, status: int, code: str
) -> None:
    answer = ask(system, data, count=count)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_an_image_that_cannot_be_fetched_is_a_problem_that_names_the_job(system: System) -> None:
    answer = requests.post(
        f"{system.url}/v1/jobs",
        json={"operation": "transform", "inputs": [{"url": "http://10.0.0.1/a.png"}]},
        headers={"Accept": "image/*"},
        timeout=90,
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "url_blocked")
    assert system.job(answer.headers["Imagemill-Job"])["status"] == "failed"


def test_a_job_that_takes_longer_goes_on(nimble: System, tokens: Tokens) -> None:
    asked = {"operation": "hold", "params": json.dumps(tokens.params)}
    answer = ask(nimble, asked, Prefer="wait=1")
    assert (answer.status_code, answer.json()["code"]) == (504, "not_finished")
    tokens.give()
    job = nimble.get(f"{answer.headers['Location']}?wait=30").json()
    assert job["status"] == "succeeded"
