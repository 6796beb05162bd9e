"""Where images and results are kept: a folder, or S3 and what speaks like it."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from imagemill.secretfile import read_or_create
from imagemill.storage.base import (
    ObjectStat,
    ObjectStore,
    ObjectWriter,
    StoredObject,
    UploadTarget,
)
from imagemill.storage.errors import InvalidKey, ObjectNotFound, StoreError, StoreUnavailable
from imagemill.storage.keys import check_key, guess_content_type, result_key, upload_key
from imagemill.storage.local import LocalStore
from imagemill.storage.signing import SignatureRefused, UrlSigner

if TYPE_CHECKING:
    from pydantic import SecretStr

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
    "open_signer",
    "open_store",
    "result_key",
    "upload_key",
]


def open_store(settings: StoreSettings) -> ObjectStore:
    """The store that the settings choose.

    In this order: OBJECT_STORE_URL (`file:` and a path, or `s3://bucket/prefix`), R2_BUCKET_NAME,
    UPLOAD_FOLDER, and else the folder `objects` in IMAGEMILL_HOME.

    Raises:
        ValueError: a setting is wrong; the text is a sentence for the operator.
        StoreUnavailable: the folder cannot be created. S3 is not asked before its first use.
    """
    url = settings.object_store_url
    if url and url.startswith("s3:"):
        return _open_s3(settings, url)
    if url:
        return _open_folder(settings, _folder_of(url))
    if settings.r2_bucket_name:
        return _open_r2(settings, settings.r2_bucket_name)
    return _open_folder(settings, settings.upload_folder or settings.home / "objects")


def open_signer(settings: StoreSettings) -> UrlSigner:
    """The signer of our own URLs; its secret is generated at first use unless a setting has it.

    Raises:
        ValueError: the secret is too short.
        OSError: the secret's file can neither be read nor created.
    """
    return UrlSigner(
        _revealed(settings.signing_secret)
        or read_or_create(settings.home / "signing.secret", secrets.token_urlsafe)
    )


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _open_folder(settings: StoreSettings, folder: Path) -> LocalStore:
    return LocalStore(
        folder, settings.public_base_url, open_signer(settings), settings.object_store_sync
    )


def _folder_of(url: str) -> Path:
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path:
        raise ValueError(
            "OBJECT_STORE_URL must be file: with a path, or s3://bucket with an optional prefix"
        )
    return Path(unquote(parts.path))


def _open_s3(settings: StoreSettings, url: str) -> ObjectStore:
    from imagemill.storage.s3 import S3Location, S3Store  # boto3 takes 0.2 s to import

    parts = urlsplit(url)
    if not parts.netloc:
        raise ValueError("OBJECT_STORE_URL must name a bucket: s3://bucket or s3://bucket/prefix")
    location = S3Location(
        bucket=parts.netloc,
        prefix=unquote(parts.path).strip("/"),
        endpoint_url=settings.s3_endpoint_url,
        public_endpoint_url=settings.s3_public_endpoint_url,
        region=settings.aws_region,
        access_key_id=settings.aws_access_key_id,
        secret_access_key=_revealed(settings.aws_secret_access_key),
        session_token=_revealed(settings.aws_session_token),
    )
    return S3Store(location, settings)


def _open_r2(settings: StoreSettings, bucket: str) -> ObjectStore:
    from imagemill.storage.s3 import S3Location, S3Store  # boto3 takes 0.2 s to import

    secret = _revealed(settings.r2_secret_access_key)
    needed = {
        "R2_ENDPOINT_URL": settings.r2_endpoint_url,
        "R2_ACCESS_KEY_ID": settings.r2_access_key_id,
        "R2_SECRET_ACCESS_KEY": secret,
    }
    if missing := [name for name, value in needed.items() if not value]:
        raise ValueError(f"R2_BUCKET_NAME is set, but not {' and '.join(missing)}")
    location = S3Location(
        bucket=bucket,
        endpoint_url=settings.r2_endpoint_url,
        region=settings.r2_region_name,
        access_key_id=settings.r2_access_key_id,
        secret_access_key=secret,
    )
    return S3Store(location, settings)
