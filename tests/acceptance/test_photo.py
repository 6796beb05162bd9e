"""One photo from upload to result, read in every way: HTTP, signed URL, event on Kafka."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import requests
from confluent_kafka import Consumer
from PIL import Image

from tests.acceptance.support.system import System
from tests.support.models import real_store

# The corners that are background, by eye.
PHOTOS = {
    "astronaut": ("top left", "top right"),
    "chelsea": ("top left", "top right", "bottom right"),
    "coffee": ("top left", "top right", "bottom left", "bottom right"),
}
CORNER = 16
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture_of(content: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


@cache
def cut_out(system: System, photo: Path) -> dict[str, Any]:
    """Submit a photo and wait in the same request; return the finished job."""
    answer = system.post(
        "/v1/jobs",
        files={"image": (photo.name, photo.read_bytes(), "image/png")},
        data={"operation": "remove-background", "priority": "high", "metadata": '{"order": 7}'},
        headers={"Prefer": "wait=60"},
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["Preference-Applied"] == "wait=60"
    job = answer.json()
    assert answer.headers["Location"] == job["links"]["self"]
    return job


def mask_of_a_direct_run(photo: Path) -> np.ndarray:
    """Compute the mask with u2netp on onnxruntime's CPU provider, without code of imagemill."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(real_store("u2netp").home / "u2netp.onnx"), options, ["CPUExecutionProvider"]
    )
    with Image.open(photo) as opened:
        picture = opened.convert("RGB")
    pixels = np.asarray(picture.resize((320, 320), Image.Resampling.LANCZOS))
    tensor = ((pixels / pixels.max() - _MEAN) / _STD).transpose(2, 0, 1)[None]
    feed = {session.get_inputs()[0].name: tensor.astype(np.float32)}
    found = session.run([session.get_outputs()[0].name], feed)[0][0, 0]
    found = (found - found.min()) / (found.max() - found.min())
    mask = Image.fromarray((found * 255).astype(np.uint8))
    return np.asarray(mask.resize(picture.size, Image.Resampling.LANCZOS))


def corner(alpha: np.ndarray, name: str) -> np.ndarray:
    """Return the pixels of a corner."""
    rows = slice(None, CORNER) if "top" in name else slice(-CORNER, None)
    columns = slice(None, CORNER) if "left" in name else slice(-CORNER, None)
    return alpha[rows, columns]


@pytest.mark.parametrize("name", PHOTOS)
def test_the_subject_is_cut_out(system: System, photos: Path, name: str) -> None:
    photo = photos / f"{name}.png"
    job = cut_out(system, photo)
    assert (job["status"], job["error"], job["attempts"]) == ("succeeded", None, 1)
    answer = system.get(job["items"][0]["links"]["result"])
    assert answer.headers["Content-Type"] == "image/png"
    picture = picture_of(answer.content)
    assert (picture.format, picture.mode) == ("PNG", "RGBA")
    assert picture.size == picture_of(photo.read_bytes()).size
    alpha = np.asarray(picture)[..., 3]
    middle = alpha[alpha.shape[0] // 2 - 8 :, alpha.shape[1] // 2 - 8 :][:16, :16]
    assert middle.min() > 240, "the subject is in the middle of each photo"
    for where in PHOTOS[name]:
        assert corner(alpha, where).max() < 8, f"the {where} corner is not clear"


@pytest.mark.parametrize("name", PHOTOS)
def test_the_mask_is_the_models(system: System, photos: Path, name: str) -> None:
    photo = photos / f"{name}.png"
    job = cut_out(system, photo)
    alpha = np.asarray(picture_of(system.get(job["items"][0]["links"]["result"]).content))[..., 3]
    ours, direct = alpha > 127, mask_of_a_direct_run(photo) > 127
    overlap = (ours & direct).sum() / (ours | direct).sum()
    assert overlap >= 0.99, f"{name}: intersection over union {overlap:.4f}"


def test_the_colours_of_the_subject_stay(system: System, photos: Path) -> None:
    photo = photos / "coffee.png"
    job = cut_out(system, photo)
    result = np.asarray(picture_of(system.get(job["items"][0]["links"]["result"]).content))
    original = np.asarray(picture_of(photo.read_bytes()).convert("RGB"))
    subject = result[..., 3] > 127
    assert subject.mean() > 0.2
    assert (result[subject][:, :3] == original[subject]).all()


def test_the_signed_url_gives_the_same_bytes_to_anybody(system: System, photos: Path) -> None:
    job = cut_out(system, photos / "coffee.png")
    result = job["items"][0]["result"]
    fetched = requests.get(result["url"], timeout=30)
    assert fetched.status_code == 200
    assert fetched.content == system.get(job["items"][0]["links"]["result"]).content
    assert len(fetched.content) == result["bytes"]
    forged = result["url"].replace("0.png", "1.png")
    assert requests.get(forged, timeout=30).status_code == 403


def test_a_finished_job_has_model_times_and_sizes(system: System, photos: Path) -> None:
    job = cut_out(system, photos / "coffee.png")
    assert system.job(job["id"]) == job
    assert job["operation"] == "remove-background"
    assert (job["priority"], job["metadata"]) == ("high", {"order": 7})
    assert job["progress"] == {"total": 1, "processed": 1, "failed": 0}
    assert job["model"]["name"] == "u2netp"
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]
    item = job["items"][0]
    assert (item["filename"], item["attempts"]) == ("coffee.png", 1)
    assert (item["result"]["width"], item["result"]["height"]) == (600, 400)
    assert set(item["timings_ms"]) == {"queued", "fetch", "infer", "store"}


def test_a_plain_kafka_consumer_gets_the_result(system: System, photos: Path) -> None:
    job = cut_out(system, photos / "coffee.png")
    consumer = Consumer(
        {
            "bootstrap.servers": system.environ["KAFKA_BOOTSTRAP_SERVERS"],
            "group.id": f"{system.environ['IMAGEMILL_TOPIC_PREFIX']}a-reader",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([f"{system.environ['IMAGEMILL_TOPIC_PREFIX']}jobs.results"])
    try:
        message = consumer.poll(30)
        while message is not None and message.key() != job["id"].encode():
            message = consumer.poll(30)
    finally:
        consumer.close()
    assert message is not None, "no result came within 30 s"
    headers = {name: value.decode() for name, value in message.headers()}
    assert headers["ce_specversion"] == "1.0"
    assert headers["ce_type"] == "io.imagemill.job.finished.v1"
    assert headers["ce_subject"] == job["id"]
    assert headers["content-type"] == "application/json"
    event = json.loads(message.value())
    assert event["job_id"] == job["id"]
    for name in ("status", "operation", "params", "priority", "progress", "metadata", "model"):
        assert event[name] == job[name]
    [item] = event["items"]
    assert item["result"] == job["items"][0]["result"]
    stored = picture_of(requests.get(item["result"]["url"], timeout=30).content)
    assert (stored.mode, stored.size) == ("RGBA", (600, 400))
