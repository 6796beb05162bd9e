"""URLs of results: whose they are, how long they live, and when they are signed again."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.credentials import Credentials, RefreshableCredentials

from imagemill.settings import ApiSettings
from imagemill.storage import ObjectUrls, open_object_urls, open_store
from imagemill.storage.s3.client import S3Client
from imagemill.storage.urls import end_of

KEY = "results/job-00001/0.png"
BUCKET = {
    "object_store_url": "s3://pictures",
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test-secret",
    "aws_region": "eu-central-1",
}
PUBLIC = {"public_url": "https://images.example/api/"}
CLUSTER = {"kafka_bootstrap_servers": "kafka.example:9092"}
DAY_S = 24 * 3600


def urls_of(home: Path, **settings: Any) -> ObjectUrls:
    """The URLs of an API with these settings; nothing is sent to its store."""
    known = ApiSettings(_env_file=None, home=home, **settings)
    return open_object_urls(known, open_store(known))


def left_s(url: str) -> float:
    ends = end_of(url)
    assert ends is not None
    return ends - time.time()


def test_a_folder_s_urls_are_the_api_s(tmp_path: Path) -> None:
    url = urls_of(tmp_path).sign(KEY, "image/png")
    assert url.startswith(f"http://localhost:8080/files/{KEY}?")
    assert left_s(url) == pytest.approx(7 * DAY_S, abs=5)


@pytest.mark.parametrize(
    ("settings", "lives_s"),
    [
        ({"host": "127.0.0.1"}, 7 * DAY_S),
        ({"host": "0.0.0.0"}, 3600),
        ({"host": "0.0.0.0", "open_without_keys": True}, 7 * DAY_S),
        ({"host": "0.0.0.0", "url_expires_s": DAY_S}, DAY_S),
    ],
)
def test_urls_live_an_hour_where_requests_need_a_key(
    tmp_path: Path, settings: dict[str, Any], lives_s: int
) -> None:
    """A URL is a way to the file without one."""
    assert left_s(urls_of(tmp_path, **settings).sign(KEY)) == pytest.approx(lives_s, abs=5)


class Changing:
    """The lifetime at an API, which gets its first key."""

    seconds = 7 * DAY_S


def test_the_first_key_shortens_urls_and_replaces_longer_ones(tmp_path: Path) -> None:
    lifetime = Changing()
    settings = ApiSettings(_env_file=None, home=tmp_path)
    urls = open_object_urls(settings, open_store(settings), lifetime)
    before = urls.sign(KEY)
    assert urls.current({"key": KEY, "url": before}) == before
    lifetime.seconds = 3600
    after = urls.current({"key": KEY, "url": before})
    assert after is not None and left_s(after) == pytest.approx(3600, abs=5)


@pytest.mark.parametrize(
    "settings", [PUBLIC, PUBLIC | CLUSTER | {"signing_secret": "sixteen letters!"}]
)
def test_a_bucket_s_urls_are_the_api_s_where_it_has_a_public_url(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    urls = urls_of(tmp_path, **BUCKET, **settings)
    url = urls.sign(KEY, "image/png")
    assert url.startswith(f"https://images.example/api/files/{KEY}?")
    assert parse_qs(urlsplit(url).query)["content_type"] == ["image/png"]
    assert left_s(url) == pytest.approx(7 * DAY_S, abs=5)
    assert not urls.blocks


def test_a_bucket_s_urls_are_presigned_without_a_public_url(tmp_path: Path) -> None:
    urls = urls_of(tmp_path, **BUCKET, url_expires_s=DAY_S)
    url = urls.sign(KEY, "image/png")
    assert urlsplit(url).hostname == "pictures.s3.eu-central-1.amazonaws.com"
    assert left_s(url) == pytest.approx(DAY_S, abs=5)
    assert urls.blocks


def test_no_url_of_the_api_is_signed_with_a_secret_that_others_lack(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        url = urls_of(tmp_path, **BUCKET, **PUBLIC, **CLUSTER).sign(KEY)
    assert urlsplit(url).hostname == "pictures.s3.eu-central-1.amazonaws.com"
    assert "IMAGEMILL_SIGNING_SECRET" in caplog.text
    assert not (tmp_path / "signing.secret").exists()


def test_a_session_token_of_a_setting_signs_for_an_hour_at_most(tmp_path: Path) -> None:
    url = urls_of(tmp_path, **BUCKET, aws_session_token="token").sign(KEY)
    assert left_s(url) == pytest.approx(3600, abs=5)


@pytest.mark.parametrize(
    ("wanted_s", "lives_s"), [(300, 300), (DAY_S, 3600 * 6), (30 * DAY_S, 3600 * 6)]
)
def test_a_presigned_url_ends_with_the_role_s_credentials(wanted_s: int, lives_s: int) -> None:
    now = datetime.now(UTC)
    role = RefreshableCredentials(
        "key", "secret", "token", now + timedelta(hours=6), lambda: {}, "assume-role"
    )
    assert S3Client(None, role).url_life_s(wanted_s, now) == lives_s


def test_credentials_that_do_not_end_sign_for_seven_days_at_most() -> None:
    assert S3Client(None, Credentials("key", "secret")).url_life_s(30 * DAY_S) == 7 * DAY_S
    assert S3Client(None, None).url_life_s(30 * DAY_S) == 7 * DAY_S


@pytest.mark.parametrize("settings", [{}, BUCKET, BUCKET | PUBLIC], ids=["folder", "s3", "public"])
def test_a_result_s_url_is_signed_again_when_little_of_its_life_is_left(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    urls = urls_of(tmp_path, **settings)
    fresh = {"key": KEY, "url": urls.sign(KEY), "content_type": "image/png"}
    assert urls.current(fresh) == fresh["url"]

    for other_s in (60, 3 * DAY_S):
        aged = urls_of(tmp_path, **settings, url_expires_s=other_s).sign(KEY)
        renewed = urls.current(fresh | {"url": aged})
        assert renewed is not None
        assert left_s(renewed) == pytest.approx(7 * DAY_S, abs=5)
    # One of seven days is too long for a signer of an hour.
    shorter = urls_of(tmp_path, **settings, url_expires_s=3600).current(fresh)
    assert shorter is not None
    assert left_s(shorter) == pytest.approx(3600, abs=5)


@pytest.mark.parametrize("url", [None, "https://elsewhere.example/a.png", "x?expires=soon"])
def test_a_url_without_an_end_is_signed_again(tmp_path: Path, url: str | None) -> None:
    current = urls_of(tmp_path).current({"key": KEY, "url": url})
    assert current is not None
    assert current.startswith(f"http://localhost:8080/files/{KEY}?")


def test_a_result_without_a_file_has_no_url(tmp_path: Path) -> None:
    urls = urls_of(tmp_path)
    assert urls.current({"data": {"text": "a"}}) is None
    assert urls.renewed({"data": 1}) == {"data": 1}


def test_documents_renew_urls_only_where_that_needs_no_network(tmp_path: Path) -> None:
    aged = {"key": KEY, "url": urls_of(tmp_path, url_expires_s=60).sign(KEY)}
    assert urls_of(tmp_path).renewed(aged)["url"] != aged["url"]
    assert urls_of(tmp_path, **BUCKET).renewed(aged) == aged
    omitted = {"key": KEY, "url": None, "url_omitted": True}
    assert urls_of(tmp_path).renewed(omitted) == omitted


@pytest.mark.parametrize(
    ("query", "ends"),
    [
        ("expires=1800000000&signature=1", 1_800_000_000),
        ("X-Amz-Date=20270115T080000Z&X-Amz-Expires=60", 1_800_000_060),
        ("sv=2025&se=2027-01-15T08%3A00%3A00Z&sig=1", 1_800_000_000),
        ("expires=", None),
        ("X-Amz-Date=20270115T080000Z", None),
        ("", None),
    ],
)
def test_the_end_of_a_signed_url_is_read_from_it(query: str, ends: int | None) -> None:
    assert end_of(f"https://store.example/a.png?{query}") == ends


def signed_headers(url: str) -> list[str]:
    return parse_qs(urlsplit(url).query)["X-Amz-SignedHeaders"][0].split(";")


def test_an_upload_of_known_size_goes_to_the_bucket_bound_to_size_and_type(tmp_path: Path) -> None:
    urls = urls_of(tmp_path, **BUCKET, **PUBLIC)
    target = urls.upload("uploads/00/~a.0", 3600, "image/png", 1234)
    assert urlsplit(target.url).hostname == "pictures.s3.eu-central-1.amazonaws.com"
    assert target.headers == {"Content-Type": "image/png", "Content-Length": "1234"}
    assert signed_headers(target.url) == ["content-length", "content-type", "host"]


def test_an_upload_of_unknown_size_goes_through_the_api_which_limits_it(tmp_path: Path) -> None:
    key = "uploads/00/~a.0"
    public = urls_of(tmp_path, **BUCKET, **PUBLIC).upload(key, 3600, "image/png", None)
    assert public.url.startswith(f"https://images.example/api/files/{key}?")
    direct = urls_of(tmp_path, **BUCKET).upload(key, 3600, "image/png", None)
    assert urlsplit(direct.url).hostname == "pictures.s3.eu-central-1.amazonaws.com"
    assert signed_headers(direct.url) == ["content-type", "host"]


def test_an_upload_s_url_ends_with_the_store_s_credentials(tmp_path: Path) -> None:
    urls = urls_of(tmp_path, **BUCKET, aws_session_token="token")
    target = urls.upload("uploads/00/~a.0", 2 * 3600, "image/png", 5)
    assert left_s(target.url) == pytest.approx(3600, abs=5)
