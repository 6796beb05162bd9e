"""The settings of the object store."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from imagemill.environment import HomeSettings, ListenSettings, named
from imagemill.storage.location import locate
from imagemill.storage.signing import UrlSigner


class StoreSettings(HomeSettings, ListenSettings):
    """Where images and results are kept."""

    object_store_url: str | None = Field(
        None,
        validation_alias=named("OBJECT_STORE_URL"),
        description="file:/path or s3://bucket[/prefix]; unset: R2_*, UPLOAD_FOLDER, then the home",
    )
    upload_folder: Path | None = Field(
        None, validation_alias=named("UPLOAD_FOLDER"), description="folder of the local store"
    )
    s3_endpoint_url: str | None = Field(
        None, validation_alias=named("S3_ENDPOINT_URL"), description="S3 server other than AWS"
    )
    s3_public_endpoint_url: str | None = Field(
        None,
        validation_alias=named("S3_PUBLIC_ENDPOINT_URL"),
        description="the S3 server as clients reach it, for presigned URLs",
    )
    aws_access_key_id: str | None = Field(
        None, validation_alias=named("AWS_ACCESS_KEY_ID"), description="S3 access key"
    )
    aws_secret_access_key: SecretStr | None = Field(
        None, validation_alias=named("AWS_SECRET_ACCESS_KEY"), description="S3 secret key"
    )
    aws_session_token: SecretStr | None = Field(
        None, validation_alias=named("AWS_SESSION_TOKEN"), description="S3 session token"
    )
    aws_region: str | None = Field(
        None, validation_alias=named("AWS_REGION"), description="S3 region"
    )
    s3_path_style: bool | None = Field(
        None, description="bucket in the path, not the host name; if unset: when not on AWS"
    )
    s3_connect_timeout_s: float = Field(
        5.0, gt=0, description="seconds to wait for a connection to the S3 server"
    )
    s3_read_timeout_s: float = Field(
        30.0, gt=0, description="seconds to wait for the S3 server's next bytes"
    )
    s3_attempts: int = Field(
        3, ge=1, le=20, description="tries of a request to the S3 server, the first included"
    )
    object_store_sync: bool = Field(
        False, description="local store: flush each object to disk at its commit, some ms each"
    )
    r2_endpoint_url: str | None = Field(
        None, validation_alias=named("R2_ENDPOINT_URL"), description="Cloudflare R2 endpoint"
    )
    r2_access_key_id: str | None = Field(
        None, validation_alias=named("R2_ACCESS_KEY_ID"), description="R2 access key"
    )
    r2_secret_access_key: SecretStr | None = Field(
        None, validation_alias=named("R2_SECRET_ACCESS_KEY"), description="R2 secret key"
    )
    r2_region_name: str = Field(
        "auto", validation_alias=named("R2_REGION_NAME"), description="R2 region"
    )
    r2_bucket_name: str | None = Field(
        None, validation_alias=named("R2_BUCKET_NAME"), description="R2 bucket"
    )
    public_url: str | None = Field(
        None,
        description="the API as clients reach it; if unset, http://localhost:<PORT>, or with the "
        "IMAGEMILL_HOST that it listens on alone",
    )
    signing_secret: SecretStr | None = Field(
        None,
        description="key of signed URLs, one for all APIs and processors; if unset, made once and "
        "kept in <home>/signing.secret",
    )
    url_expires_s: int = Field(
        7 * 24 * 3600, ge=60, le=7 * 24 * 3600, description="lifetime of signed URLs, seconds"
    )
    port: int = Field(
        8080, ge=0, le=65535, validation_alias=named("PORT"), description="port of the API"
    )

    @field_validator("signing_secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret and secret.get_secret_value():
            UrlSigner(secret.get_secret_value())
        return secret

    @model_validator(mode="after")
    def _a_store_is_chosen(self) -> Self:
        locate(self)
        return self

    @property
    def public_base_url(self) -> str:
        """The API's base URL as clients reach it, without a trailing slash."""
        host = "localhost" if self.reached_host == "127.0.0.1" else self.reached_host
        return (self.public_url or f"http://{host}:{self.port}").rstrip("/")
