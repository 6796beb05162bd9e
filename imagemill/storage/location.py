"""Which store the settings choose: a folder, or a bucket of S3 or what speaks like it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from pydantic import SecretStr

    from imagemill.settings import StoreSettings


@dataclass(frozen=True)
class S3Location:
    """Which bucket, at which server, with whose keys; what is unset is found as the AWS CLI does.

    `prefix` comes without slashes at its ends. `public_endpoint_url` is how clients reach the
    server, where that differs from how we do.
    """

    bucket: str
    prefix: str = ""
    endpoint_url: str | None = None
    public_endpoint_url: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)


def locate(settings: StoreSettings) -> Path | S3Location:
    """The folder or bucket.

    In this order: OBJECT_STORE_URL (`file:` and a path, or `s3://bucket/prefix`), R2_BUCKET_NAME,
    UPLOAD_FOLDER, and else the folder `objects` in IMAGEMILL_HOME.

    Raises:
        ValueError: a setting is wrong; the text is a sentence for the operator.
    """
    url = settings.object_store_url
    if url and url.startswith("s3:"):
        return _s3(settings, url)
    if url:
        return _folder(url)
    if settings.r2_bucket_name:
        return _r2(settings, settings.r2_bucket_name)
    return settings.upload_folder or settings.home / "objects"


def _folder(url: str) -> Path:
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path:
        raise ValueError(
            "OBJECT_STORE_URL must be file: with a path, or s3://bucket with an optional prefix"
        )
    return Path(unquote(parts.path))


def _s3(settings: StoreSettings, url: str) -> S3Location:
    parts = urlsplit(url)
    if not parts.netloc:
        raise ValueError("OBJECT_STORE_URL must name a bucket: s3://bucket or s3://bucket/prefix")
    return S3Location(
        bucket=parts.netloc,
        prefix=unquote(parts.path).strip("/"),
        endpoint_url=_server("S3_ENDPOINT_URL", settings.s3_endpoint_url),
        public_endpoint_url=_server("S3_PUBLIC_ENDPOINT_URL", settings.s3_public_endpoint_url),
        region=settings.aws_region,
        access_key_id=settings.aws_access_key_id,
        secret_access_key=revealed(settings.aws_secret_access_key),
        session_token=revealed(settings.aws_session_token),
    )


def _r2(settings: StoreSettings, bucket: str) -> S3Location:
    secret = revealed(settings.r2_secret_access_key)
    needed = {
        "R2_ENDPOINT_URL": settings.r2_endpoint_url,
        "R2_ACCESS_KEY_ID": settings.r2_access_key_id,
        "R2_SECRET_ACCESS_KEY": secret,
    }
    if missing := [name for name, value in needed.items() if not value]:
        raise ValueError(f"R2_BUCKET_NAME is set, but not {' and '.join(missing)}")
    return S3Location(
        bucket=bucket,
        endpoint_url=_server("R2_ENDPOINT_URL", settings.r2_endpoint_url),
        region=settings.r2_region_name,
        access_key_id=settings.r2_access_key_id,
        secret_access_key=secret,
    )


def _server(name: str, url: str | None) -> str | None:
    if url and not (urlsplit(url).scheme in ("http", "https") and urlsplit(url).hostname):
        raise ValueError(f"{name} must be a URL such as https://s3.example.com")
    return url


def revealed(secret: SecretStr | None) -> str | None:
    """The secret itself, None when it is unset."""
    return secret.get_secret_value() if secret else None
