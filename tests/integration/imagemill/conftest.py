"""Object stores of tests: a folder, S3 as moto's server speaks it, and Azure as Azurite does."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from imagemill.settings import StoreSettings
from imagemill.storage import LocalStore, ObjectStore, UrlSigner, open_store
from tests.support.azurite import SETTINGS, azurite

KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test-secret"}


@pytest.fixture(scope="package")
def s3_server() -> Iterator[str]:
    """The URL of an S3 server."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="package")
def s3_admin(s3_server: str) -> Any:
    """A client of that server that no store wraps."""
    return boto3.client("s3", endpoint_url=s3_server, region_name="us-east-1", **KEYS)


@pytest.fixture
def bucket(s3_admin: Any) -> str:
    """A new bucket."""
    name = f"bucket-{uuid.uuid4()}"
    s3_admin.create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="package")
def open_s3() -> Callable[..., ObjectStore]:
    """Open the store of a server's URL and an OBJECT_STORE_URL, with further settings."""

    def opened(server: str, url: str, **settings: object) -> ObjectStore:
        values = KEYS | {"object_store_url": url, "s3_endpoint_url": server, "s3_attempts": 1}
        return open_store(StoreSettings(_env_file=None, **(values | settings)))

    return opened


@pytest.fixture
def s3_store(s3_server: str, bucket: str, open_s3: Callable[..., ObjectStore]) -> ObjectStore:
    """A store below a prefix of a new bucket."""
    return open_s3(s3_server, f"s3://{bucket}/some/prefix")


@pytest.fixture(scope="package")
def azure_server(
    free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of an Azure storage account."""
    with azurite(free_port(), tmp_path_factory.mktemp("azurite")) as url:
        yield url


@pytest.fixture(scope="package")
def open_azure() -> Callable[..., ObjectStore]:
    """Open the store of an account's URL and an OBJECT_STORE_URL, with further settings."""

    def opened(server: str, url: str, **settings: object) -> ObjectStore:
        values = SETTINGS | {"azure_storage_endpoint_url": server, "s3_attempts": 1}
        return open_store(
            StoreSettings(_env_file=None, object_store_url=url, **(values | settings))
        )

    return opened


@pytest.fixture
def azure_store(azure_server: str, open_azure: Callable[..., ObjectStore]) -> ObjectStore:
    """A store below a prefix of a new container."""
    store = open_azure(azure_server, f"az://container-{uuid.uuid4()}/some/prefix")
    store.prepare()
    return store


@pytest.fixture
def folder_store(tmp_path: Path) -> LocalStore:
    """A store in a new folder."""
    signer = UrlSigner("sixteen letters!")
    return LocalStore(tmp_path / "objects", "http://localhost:8080/", signer)
