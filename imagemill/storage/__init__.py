"""Object stores for images and results: a folder, or a bucket of S3 and compatible servers."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from imagemill.process.secrets import own_secret
from imagemill.settings.storage import locate, revealed
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
from imagemill.storage.signing import SignatureRefused, UrlSigner

if TYPE_CHECKING:
    from imagemill.settings import StoreSettings

__all__ = [
    "InvalidKey",
    "LocalStore",
    "ObjectNotFound",
    "ObjectStat",
    "ObjectStore",
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
        StoreUnavailable: the folder cannot be created. S3 is not contacted before its first use.
        ValueError: the file of the secret that signs URLs is empty.
        OSError: that file can neither be read nor created.
    """
    where = locate(settings)
    if isinstance(where, Path):
        signer = open_signer(settings)
        return LocalStore(where, settings.public_base_url, signer, settings.object_store_sync)
    from imagemill.storage.s3 import S3Store  # boto3 takes 0.2 s to import

    return S3Store(where, settings)


def open_signer(settings: StoreSettings) -> UrlSigner:
    """Return the signer of the folder store's URLs; without a setting, its secret is generated.

    Raises:
        ValueError: the secret is too short.
        OSError: the secret's file can neither be read nor created.
    """
    return UrlSigner(
        revealed(settings.signing_secret)
        or own_secret(settings, "signing.secret", "IMAGEMILL_SIGNING_SECRET", secrets.token_urlsafe)
    )
