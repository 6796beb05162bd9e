"""S3 as companies rent it: encryption, owners, regions, permissions, and Google's dialect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
import requests
from moto import mock_aws

from imagemill.settings import StoreSettings
from imagemill.settings.environment import SettingsInvalid
from imagemill.storage import ObjectNotFound, ObjectStore, StoreUnavailable, open_store
from imagemill.storage.probe import try_store
from tests.support.s3 import KEYS, Bucket, Recorder, google_like, recording, s3_bucket
from tests.support.servers import QuietHandler, http_server
from tests.support.waiting import DEADLINE_S

Opener = Callable[..., ObjectStore]

KEY = "results/j/0.png"
KMS = {"s3_sse": "aws:kms", "s3_sse_kms_key_id": "arn:aws:kms:us-east-1:1:key/abc"}
OWNER = {"s3_bucket_owner": "123456789012"}


@pytest.fixture(scope="module")
def moto() -> Iterator[Bucket]:
    with s3_bucket() as made:
        yield made


@pytest.fixture
def recorded(moto: Bucket) -> Iterator[Recorder]:
    with recording(moto) as proxy:
        yield proxy


@pytest.fixture
def google(moto: Bucket) -> Iterator[Recorder]:
    with google_like(moto) as proxy:
        yield proxy


def store_at(server: str, bucket: Bucket, open_s3: Opener, **settings: Any) -> ObjectStore:
    return open_s3(server, f"s3://{bucket.name}/some/prefix", **settings)


@pytest.mark.parametrize("size", [5, 9_000_000], ids=["whole", "in parts"])
def test_objects_are_encrypted_with_the_key_of_the_settings(
    recorded: Recorder, moto: Bucket, open_s3: Opener, size: int
) -> None:
    store = store_at(recorded.url, moto, open_s3, **KMS)
    store.put(KEY, bytes(size), "image/png")
    assert store.get(KEY) == bytes(size)
    head = moto.client.head_object(Bucket=moto.name, Key=f"some/prefix/{KEY}")
    assert head["ServerSideEncryption"] == "aws:kms"
    assert head["SSEKMSKeyId"] == KMS["s3_sse_kms_key_id"]


def test_a_client_s_upload_is_encrypted_and_checked_for_the_owner_too(
    recorded: Recorder, moto: Bucket, open_s3: Opener
) -> None:
    store = store_at(recorded.url, moto, open_s3, **KMS, **OWNER)
    target = store.upload_url("uploads/a.0", 60, "image/png", 3)
    named = {
        "Content-Type": "image/png",
        "Content-Length": "3",
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": KMS["s3_sse_kms_key_id"],
        "x-amz-expected-bucket-owner": "123456789012",
    }
    assert target.headers == named
    signed = parse_qs(urlsplit(target.url).query)["X-Amz-SignedHeaders"][0].split(";")
    assert set(signed) == {name.lower() for name in named} | {"host"}
    sent = requests.put(target.url, data=b"abc", headers=target.headers, timeout=DEADLINE_S)
    assert sent.status_code == 200
    head = moto.client.head_object(Bucket=moto.name, Key="some/prefix/uploads/a.0")
    assert (head["ServerSideEncryption"], head["ContentLength"]) == ("aws:kms", 3)


def test_every_call_names_the_owner_that_the_bucket_must_have(
    recorded: Recorder, moto: Bucket, open_s3: Opener
) -> None:
    store = store_at(recorded.url, moto, open_s3, **OWNER)
    store.check()
    store.put(KEY, b"x", "image/png")
    store.put(KEY, bytes(9_000_000), "image/png")
    store.get(KEY)
    store.stat(KEY)
    assert [entry.key for entry in store.iter_keys("results/")] == [KEY]
    store.delete(KEY)
    methods = {verb for verb, _, _ in recorded.requests}
    assert methods == {"HEAD", "PUT", "POST", "GET"}
    for verb, path, headers in recorded.requests:
        assert headers.get("x-amz-expected-bucket-owner") == "123456789012", (verb, path)


def test_a_url_to_read_at_needs_no_header(moto: Bucket, open_s3: Opener) -> None:
    store = store_at(moto.url, moto, open_s3, **KMS, **OWNER)
    query = parse_qs(urlsplit(store.url(KEY, 60)).query)
    assert query["X-Amz-SignedHeaders"] == ["host"]


@pytest.mark.parametrize(
    ("settings", "summed"), [({}, False), ({"s3_checksums": "when_supported"}, True)]
)
def test_checksums_are_sent_by_setting(
    recorded: Recorder, moto: Bucket, open_s3: Opener, settings: dict[str, str], summed: bool
) -> None:
    store_at(recorded.url, moto, open_s3, **settings).put(KEY, b"x", "image/png")
    headers = recorded.headers("PUT", KEY)
    assert ("x-amz-sdk-checksum-algorithm" in headers) is summed


def test_google_takes_all_that_the_store_sends(
    google: Recorder, moto: Bucket, open_s3: Opener
) -> None:
    store = store_at(google.url, moto, open_s3, s3_multi_delete=False)
    keys = [f"uploads/a.{index}" for index in range(20)]
    for key in keys:
        store.put(key, b"x", "image/png")
    store.put(KEY, bytes(9_000_000), "image/png")
    assert store.get(KEY) == bytes(9_000_000)
    assert {entry.key for entry in store.iter_keys("uploads/")} == set(keys)
    store.delete(*keys, "uploads/never.0", KEY)
    assert list(store.iter_keys()) == []
    with pytest.raises(ObjectNotFound):
        store.get(KEY)


def test_google_s_refusal_points_to_the_settings(
    google: Recorder, moto: Bucket, open_s3: Opener
) -> None:
    store = store_at(google.url, moto, open_s3, s3_multi_delete=True)
    with pytest.raises(StoreUnavailable, match=r"DeleteObjects \(NotImplemented\).*stores.md"):
        store.delete(KEY)


def test_objects_of_others_are_not_listed(moto: Bucket, open_s3: Opener) -> None:
    """AWS's console creates an object whose name ends with a slash for each folder."""
    store = store_at(moto.url, moto, open_s3)
    for name in ("uploads/", "uploads/a//b", "uploads/.hidden"):
        moto.client.put_object(Bucket=moto.name, Key=f"some/prefix/{name}", Body=b"")
    store.put("uploads/b.0", b"x", "image/png")
    assert [entry.key for entry in store.iter_keys("uploads/")] == ["uploads/b.0"]
    store.delete("uploads/b.0")


def test_a_trial_leaves_nothing(moto: Bucket, open_s3: Opener, folder_store: ObjectStore) -> None:
    for store in (store_at(moto.url, moto, open_s3), folder_store):
        try_store(store)
        assert list(store.iter_keys("probe/")) == []


@pytest.fixture
def aws() -> Iterator[Any]:
    """AWS as moto plays it inside this process, with a bucket in Ireland."""
    with mock_aws():
        client = boto3.client("s3", region_name="eu-west-1", **KEYS)
        where = {"LocationConstraint": "eu-west-1"}
        client.create_bucket(Bucket="pictures", CreateBucketConfiguration=where)
        yield client


def test_a_bucket_in_another_region_is_named_with_it(aws: Any, open_s3: Opener) -> None:
    def at(region: str) -> ObjectStore:
        return open_s3(None, "s3://pictures", aws_region=region)

    with pytest.raises(
        StoreUnavailable, match=r"is in the region eu-west-1, .* AWS_REGION=eu-west"
    ):
        at("us-east-1").check()
    at("eu-west-1").check()


def refusing(status: int, code: str, message: str = "") -> type:
    """A handler that answers every request with an error of S3."""

    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_PUT = do_POST = do_HEAD = do_DELETE = do_GET

    return Handler


NOT_ALLOWED = "User: arn:aws:sts::1:role is not authorized to perform: kms:GenerateDataKey on ..."


@pytest.mark.parametrize(
    ("call", "answer", "sentence"),
    [
        ("check", (403, "AccessDenied"), r"ListObjectsV2 needs the permission s3:ListBucket"),
        ("check", (403, "SignatureDoesNotMatch"), r"refuses our keys .* \(SignatureDoesNotMatch\)"),
        ("put", (403, "AccessDenied"), r"PutObject needs the permission s3:PutObject"),
        ("get", (403, "AccessDenied"), r"GetObject needs the permission s3:GetObject"),
        ("delete", (403, "AccessDenied"), r"DeleteObjects needs the permission s3:DeleteObject"),
        ("list", (403, "AccessDenied"), r"ListObjectsV2 needs the permission s3:ListBucket"),
        ("put", (403, "AccessDenied", NOT_ALLOWED), r"the permission kms:GenerateDataKey$"),
        ("get", (400, "KMS.DisabledException"), r"cannot use the KMS key"),
        ("get", (400, "ExpiredToken"), r"refuses the session token \(ExpiredToken\)"),
        ("get", (403, "RequestTimeTooSkewed"), r"clock"),
        ("put", (403, "SignatureDoesNotMatch"), r"refuses our keys for the bucket"),
        ("check", (400, "AuthorizationHeaderMalformed"), r"in another region than us-east-1"),
        ("stat", (400, ""), r"is us-east-1 the region of pictures\?"),
        ("get", (301, "PermanentRedirect"), r"redirects every request"),
        ("put", (400, "IllegalLocationConstraintException"), r"another region than us-east-1"),
    ],
)
def test_a_refusal_says_what_is_missing(
    open_s3: Opener, call: str, answer: tuple, sentence: str
) -> None:

    calls: dict[str, Callable[[ObjectStore], object]] = {
        "check": lambda store: store.check(),
        "stat": lambda store: store.stat(KEY),
        "put": lambda store: store.put(KEY, b"x", "image/png"),
        "get": lambda store: store.get(KEY),
        "delete": lambda store: store.delete(KEY),
        "list": lambda store: list(store.iter_keys()),
    }
    with http_server(refusing(*answer)) as server:
        store = open_s3(f"http://127.0.0.1:{server.server_port}", "s3://pictures")
        with pytest.raises(StoreUnavailable, match=sentence):
            calls[call](store)


def test_a_refusal_names_the_owner_that_was_expected(open_s3: Opener) -> None:

    with http_server(refusing(403, "AccessDenied")) as server:
        store = open_s3(f"http://127.0.0.1:{server.server_port}", "s3://pictures", **OWNER)
        with pytest.raises(StoreUnavailable, match="belong to the account 123456789012"):
            store.check()


def test_a_machine_without_keys_learns_of_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    store = open_store(StoreSettings(_env_file=None, object_store_url="s3://pictures"))
    with pytest.raises(StoreUnavailable, match=r"set AWS_ACCESS_KEY_ID .* or give this machine"):
        store.check()
    with pytest.raises(StoreUnavailable, match="set AWS_ACCESS_KEY_ID"):
        store.url(KEY, 60)


def test_google_is_known_by_its_scheme_or_its_server() -> None:
    for settings in (
        {"object_store_url": "gs://pictures/some/prefix"},
        {
            "object_store_url": "s3://pictures/some/prefix",
            "s3_endpoint_url": "https://storage.googleapis.com",
        },
    ):
        store = open_store(StoreSettings(_env_file=None, **KEYS, **settings))  # type: ignore[arg-type]
        url = store.url(KEY, 60)
        assert url.startswith(f"https://storage.googleapis.com/pictures/some/prefix/{KEY}?")
        assert "%2Fauto%2Fs3%2F" in url


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"s3_sse_kms_key_id": "abc"}, "needs IMAGEMILL_S3_SSE=aws:kms"),
        ({"s3_sse_kms_key_id": "abc", "s3_sse": "AES256"}, "needs IMAGEMILL_S3_SSE=aws:kms"),
        ({"s3_bucket_owner": "12"}, "IMAGEMILL_S3_BUCKET_OWNER"),
        ({"s3_sse": "rot13"}, "IMAGEMILL_S3_SSE"),
        ({"object_store_url": "gs:pictures"}, "must name a bucket"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsInvalid, match=sentence):
        StoreSettings(_env_file=None, **settings)  # type: ignore[arg-type]
