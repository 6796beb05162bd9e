"""The Azure store's own behaviour, on Azurite."""

from __future__ import annotations

import base64
import builtins
import json
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from azure.core.credentials import AccessToken

from imagemill.settings import StoreSettings
from imagemill.settings.environment import SettingsInvalid
from imagemill.settings.storage import AzureLocation
from imagemill.storage import ObjectNotFound, ObjectStore, StoreUnavailable, open_store
from imagemill.storage.azure import AzureStore
from imagemill.storage.probe import try_store
from imagemill.storage.urls import end_of
from tests.support.azurite import ACCOUNT, SETTINGS, azurite
from tests.support.servers import certificate
from tests.support.waiting import DEADLINE_S

pytestmark = pytest.mark.longest

Opener = Callable[..., ObjectStore]
KEY = "results/j/0.png"


def fetch(url: str, **options: Any) -> requests.Response:
    return requests.get(url, timeout=DEADLINE_S, **options)


def test_a_container_has_no_files_and_is_remote(azure_store: ObjectStore) -> None:
    azure_store.put(KEY, b"x", "image/png")
    assert azure_store.local_path(KEY) is None
    assert azure_store.remote
    try_store(azure_store)


def test_a_missing_container_is_created_once(azure_server: str, open_azure: Opener) -> None:
    name = f"container-{uuid.uuid4()}"
    store = open_azure(azure_server, f"az://{name}")
    for call in (store.check, lambda: store.put(KEY, b"", "image/png"), lambda: store.get(KEY)):
        with pytest.raises(StoreUnavailable, match=f"there is no container {name} at"):
            call()
    assert store.prepare() == f"container {name}"
    assert store.prepare() is None
    store.check()
    with pytest.raises(ObjectNotFound):
        store.get(KEY)


def test_a_signed_url_answers_the_object_as_asked_until_it_ends(azure_store: ObjectStore) -> None:
    azure_store.put(KEY, b"picture", "image/png")
    url = azure_store.url(KEY, 60)
    ends = end_of(url)
    assert ends is not None and 50 < ends - time.time() <= 60
    answer = fetch(url)
    assert (answer.content, answer.headers["Content-Type"]) == (b"picture", "image/png")

    named = fetch(azure_store.url(KEY, 60, filename='c"\u00fcp.png', content_type="image/x-odd"))
    assert named.headers["Content-Disposition"] == "attachment; filename*=UTF-8''c%22%C3%BCp.png"
    assert named.headers["Content-Type"] == "image/x-odd"

    assert fetch(azure_store.url(KEY, -60)).status_code == 403
    assert fetch(url.replace("0.png", "1.png")).status_code == 403
    headers = {"x-ms-blob-type": "BlockBlob"}
    assert requests.put(url, data=b"", headers=headers, timeout=DEADLINE_S).status_code == 403


def test_an_upload_url_creates_the_object_once_and_reads_nothing(azure_store: ObjectStore) -> None:
    target = azure_store.upload_url("uploads/j.0", 60, "image/webp")

    def send(data: bytes) -> int:
        return requests.request(
            target.method, target.url, data=data, headers=target.headers, timeout=DEADLINE_S
        ).status_code

    assert send(b"picture") == 201
    assert send(b"another") in (403, 409)
    assert fetch(target.url).status_code == 403
    assert azure_store.get("uploads/j.0") == b"picture"
    assert azure_store.stat("uploads/j.0").content_type == "image/webp"


def test_a_refusal_says_what_is_wrong(azure_server: str, open_azure: Opener) -> None:
    other = base64.b64encode(b"another key").decode()
    store = open_azure(azure_server, "az://pictures", azure_storage_key=other)
    for call in (store.check, store.prepare, lambda: store.put(KEY, b"x", "image/png")):
        with pytest.raises(StoreUnavailable, match="AZURE_STORAGE_KEY"):
            call()


def test_a_server_that_is_away_is_named(open_azure: Opener) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = f"http://127.0.0.1:{taken.getsockname()[1]}/{ACCOUNT}"
        store = open_azure(server, "az://pictures")
        for call in (store.check, lambda: store.get(KEY), lambda: list(store.iter_keys())):
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                call()


class Identity:
    """An identity of the machine: Azurite reads its token and trusts any signature."""

    def get_token(self, *_: str, **__: object) -> AccessToken:
        """Return a token of an hour."""
        now = int(time.time())
        claims = {
            "aud": "https://storage.azure.com", "iss": "https://sts.windows.net/tenant/",
            "iat": now, "nbf": now, "exp": now + 3600, "oid": str(uuid.uuid4()), "tid": "tenant",
        }  # fmt: skip
        parts = ({"alg": "RS256", "typ": "JWT"}, claims, {})
        return AccessToken(
            ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
                     for part in parts),
            now + 3600,
        )  # fmt: skip


@pytest.fixture
def identified(
    free_port: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AzureStore]:
    """A store without a key, on a server that takes tokens, for which it wants TLS."""
    cert, key = certificate(tmp_path, "localhost")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(cert))
    options = ("--oauth", "basic", "--cert", str(cert), "--key", str(key))
    port = free_port()
    with azurite(port, tmp_path, *options):
        server = f"https://localhost:{port}/{ACCOUNT}"
        location = AzureLocation("pictures", ACCOUNT, server, "some/prefix")
        settings = StoreSettings(_env_file=None, s3_attempts=1)
        store = AzureStore(location, settings, Identity())
        store.prepare()
        yield store


def test_an_identity_signs_urls_without_a_key(identified: AzureStore) -> None:
    """Azurite does not know the signature's present form, so it cannot answer these URLs."""
    identified.put(KEY, b"picture", "image/png")
    assert identified.get(KEY) == b"picture"
    short, long = (
        parse_qs(urlsplit(identified.url(KEY, seconds)).query) for seconds in (3600, 30 * 24 * 3600)
    )
    assert (short["sp"], short["sktid"]) == (["r"], ["tenant"])
    # The key lives for the 7 days that Azure allows, and signs all URLs until a day has passed.
    assert short["ske"] == long["ske"] == long["se"]
    assert datetime.fromisoformat(short["skt"][0]).timestamp() < time.time() - 600
    ends = end_of(identified.url(KEY, 30 * 24 * 3600))
    assert ends == pytest.approx(time.time() + 7 * 24 * 3600, abs=1000)


def test_a_machine_without_an_identity_learns_of_both_ways(
    azure_server: str, open_azure: Opener
) -> None:
    secure = azure_server.replace("http:", "https:")
    store = open_azure(secure, "az://pictures", azure_storage_key=None)
    with pytest.raises(StoreUnavailable, match="set AZURE_STORAGE_KEY, or give this machine"):
        store.check()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"object_store_url": "az://pictures"}, "needs AZURE_STORAGE_ACCOUNT"),
        ({"object_store_url": "az:pictures"}, "must name a container"),
        ({"azure_storage_account": "No Account"}, "AZURE_STORAGE_ACCOUNT"),
        (
            SETTINGS | {"object_store_url": "az://a", "azure_storage_endpoint_url": "localhost"},
            "AZURE_STORAGE_ENDPOINT_URL must be a URL",
        ),
    ],
)
def test_settings_that_do_not_fit_are_named(settings: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsInvalid, match=sentence):
        StoreSettings(_env_file=None, **settings)  # type: ignore[arg-type]


def test_the_account_s_own_server_is_found_by_its_name() -> None:
    store = open_store(StoreSettings(_env_file=None, object_store_url="az://pictures", **SETTINGS))
    start = f"https://{ACCOUNT}.blob.core.windows.net/pictures/{KEY}?"
    assert store.url(KEY, 60).startswith(start)


def test_a_missing_library_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_azure(name: str, *rest: Any) -> Any:
        if name == "imagemill.storage.azure":
            raise ModuleNotFoundError("No module named 'azure'", name="azure")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_azure)
    with pytest.raises(ValueError, match=r"pip install 'imagemill\[azure\]'"):
        open_store(StoreSettings(_env_file=None, object_store_url="az://pictures", **SETTINGS))
