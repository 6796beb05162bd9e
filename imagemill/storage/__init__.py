"""Object stores for images and results: a folder, a bucket of S3, or a container of Azure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from imagemill.settings.storage import AzureLocation, locate
from imagemill.storage.base import (
    ObjectStat,
    ObjectStore,
    ObjectWriter,
    StoredObject,
    UploadTarget,
)
from imagemill.storage.errors import InvalidKey, ObjectNotFound, StoreError, StoreUnavailable
from imagemill.storage.keys import (
    check_key,
    guess_content_type,
    job_of_key,
    loose_upload_key,
    result_key,
    result_prefix,
    upload_key,
    upload_prefix,
)
from imagemill.storage.local import LocalStore
from imagemill.storage.signing import SignatureRefused, UrlSigner, open_signer
from imagemill.storage.urls import FixedLifetime, ObjectUrls, open_object_urls

if TYPE_CHECKING:
    from imagemill.settings import StoreSettings

__all__ = [
    "FixedLifetime",
    "InvalidKey",
    "LocalStore",
    "ObjectNotFound",
    "ObjectStat",
    "ObjectStore",
    "ObjectUrls",
    "ObjectWriter",
    "SignatureRefused",
    "StoreError",
    "StoreUnavailable",
    "StoredObject",
    "UploadTarget",
    "UrlSigner",
    "check_key",
    "guess_content_type",
    "job_of_key",
    "loose_upload_key",
    "open_object_urls",
    "open_signer",
    "open_store",
    "result_key",
    "result_prefix",
    "upload_key",
    "upload_prefix",
]


def open_store(settings: StoreSettings) -> ObjectStore:
    """Open the store that the settings choose.

    Raises:
        StoreUnavailable: the folder cannot be created. A remote server is not
            contacted before its first use.
        ValueError: the file of the secret that signs URLs is empty, or the store is Azure and its
            library is not installed.
        OSError: that file can neither be read nor created.
    """
    where = locate(settings)
    if isinstance(where, Path):
        signer = open_signer(settings)
        return LocalStore(where, settings.public_base_url, signer, settings.object_store_sync)
    if isinstance(where, AzureLocation):
        return _open_azure(where, settings)
    from imagemill.storage.s3 import S3Store  # boto3 takes 0.2 s to import

    return S3Store(where, settings)


def _open_azure(location: AzureLocation, settings: StoreSettings) -> ObjectStore:
    try:
        from imagemill.storage.azure import AzureStore
    except ModuleNotFoundError as error:
        raise ValueError(
            f"OBJECT_STORE_URL begins with az:, which needs the package {error.name}: "
            "pip install 'imagemill[azure]'"
        ) from error
    return AzureStore(location, settings)
