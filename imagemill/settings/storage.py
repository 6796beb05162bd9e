"""Settings of the object store, and the folder or S3 bucket that they choose."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from imagemill.settings.access import OpenSettings
from imagemill.settings.environment import HomeSettings, ListenSettings, named
from imagemill.settings.server import TlsSettings

# A shorter secret of signed URLs could be guessed.
MIN_SIGNING_SECRET_CHARS = 16
# Seconds that a result's URL lives at most; S3 presigns for no longer.
_MAX_URL_S = 7 * 24 * 3600
# The same where requests need a key, unless a setting says otherwise.
_URL_WITH_KEYS_S = 3600
# The server of Google Cloud Storage that speaks S3.
_GOOGLE = "https://storage.googleapis.com"


@dataclass(frozen=True)
class S3Location:
    """A bucket, its server and the keys; boto3 finds what is unset, as the AWS CLI does.

    `prefix` comes without slashes at its ends. `public_endpoint_url` is the server's URL for
    clients, if they reach it by another than we do.
    """

    bucket: str
    prefix: str = ""
    endpoint_url: str | None = None
    public_endpoint_url: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)

    @property
    def is_google(self) -> bool:
        """True if the server is Google Cloud Storage by the S3 protocol."""
        return urlsplit(self.endpoint_url or "").hostname == urlsplit(_GOOGLE).hostname


@dataclass(frozen=True)
class AzureLocation:
    """A container of Azure Blob Storage; without a key the machine's identity signs requests.

    `prefix` comes without slashes at its ends.
    """

    container: str
    account: str
    endpoint_url: str
    prefix: str = ""
    key: str | None = field(default=None, repr=False)


class StoreSettings(HomeSettings, ListenSettings, TlsSettings, OpenSettings):
    """The store of images and results."""

    object_store_url: str | None = Field(
        None,
        validation_alias=named("OBJECT_STORE_URL"),
        description="file:/path, s3://bucket[/prefix], gs://bucket[/prefix] for Google Cloud "
        "Storage with HMAC keys, or az://container[/prefix] for Azure; unset: R2_*, UPLOAD_FOLDER, "
        "then the home",
    )
    upload_folder: Path | None = Field(
        None,
        validation_alias=named("UPLOAD_FOLDER"),
        description="folder of images and results; <home>/objects if unset",
    )
    s3_endpoint_url: str | None = Field(
        None,
        validation_alias=named("S3_ENDPOINT_URL"),
        description="URL of an S3 server other than AWS",
    )
    s3_public_endpoint_url: str | None = Field(
        None,
        validation_alias=named("S3_PUBLIC_ENDPOINT_URL"),
        description="URL at which clients reach the S3 server, for presigned URLs",
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
        None,
        description="whether the bucket is in the URL's path, not in the host name; true except "
        "on AWS if unset",
    )
    s3_sse: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = Field(
        None,
        description="encryption at rest that is asked for with each object; if unset, the bucket's "
        "own default",
    )
    s3_sse_kms_key_id: str | None = Field(
        None,
        description="id or ARN of the KMS key; if unset, the account's key for S3 (aws/s3)",
    )
    s3_bucket_owner: str | None = Field(
        None,
        pattern=r"^\d{12}$",
        description="AWS account that the bucket must belong to; if unset, any",
    )
    s3_checksums: Literal["when_required", "when_supported"] = Field(
        "when_required",
        description="requests with a checksum, in boto3's terms: only those that need one, or all. "
        "AWS takes both, Google and R2 the first alone",
    )
    s3_multi_delete: bool | None = Field(
        None,
        description="whether many objects are deleted in one request; true except at Google if "
        "unset",
    )
    s3_connect_timeout_s: float = Field(
        5.0, gt=0, description="seconds to wait for a connection to the S3 or Azure server"
    )
    s3_read_timeout_s: float = Field(
        30.0, gt=0, description="seconds to wait for the S3 or Azure server's next bytes"
    )
    s3_attempts: int = Field(
        3,
        ge=1,
        le=20,
        description="most attempts at a request to the S3 or Azure server, the first included",
    )
    azure_storage_account: str | None = Field(
        None,
        pattern=r"^[a-z0-9]{3,24}$",
        validation_alias=named("AZURE_STORAGE_ACCOUNT"),
        description="Azure storage account",
    )
    azure_storage_key: SecretStr | None = Field(
        None,
        validation_alias=named("AZURE_STORAGE_KEY"),
        description="key of the Azure storage account; if unset, the machine's identity, as "
        "azure-identity finds it",
    )
    azure_storage_endpoint_url: str | None = Field(
        None,
        validation_alias=named("AZURE_STORAGE_ENDPOINT_URL"),
        description="URL of the account's blob service, if not "
        "https://<account>.blob.core.windows.net",
    )
    object_store_sync: bool = Field(
        False,
        description="whether the folder store flushes each object to disk at its commit, at some "
        "milliseconds each",
    )
    r2_endpoint_url: str | None = Field(
        None,
        validation_alias=named("R2_ENDPOINT_URL"),
        description="URL of the Cloudflare R2 endpoint",
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
        description="URL at which clients reach the API; if unset http://localhost:<PORT>, with "
        "https if it has a certificate, and IMAGEMILL_HOST for localhost if that is one address. "
        "Where it is set, result URLs are the API's with every store; where not, a bucket's are "
        "presigned",
    )
    signing_secret: SecretStr | None = Field(
        None,
        description="secret that signs URLs, at least 16 characters, the same for all APIs and "
        "processors; if unset, generated once into <home>/signing.secret",
    )
    url_expires_s: int | None = Field(
        None,
        ge=60,
        le=_MAX_URL_S,
        description="seconds that the signed URL of a result is valid; if unset 3600 where "
        "requests need an API key, else 604800; processors, which read no keys, take 3600 where "
        "IMAGEMILL_HOST is no loopback address and IMAGEMILL_OPEN is not set; a URL that the store "
        "presigns ends with the store's credentials if that is earlier",
    )
    port: int = Field(
        8080, ge=0, le=65535, validation_alias=named("PORT"), description="TCP port of the API"
    )

    @field_validator("signing_secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret and 0 < len(secret.get_secret_value()) < MIN_SIGNING_SECRET_CHARS:
            raise ValueError(
                f"the signing secret must have at least {MIN_SIGNING_SECRET_CHARS} characters"
            )
        return secret

    @model_validator(mode="after")
    def _a_kms_key_has_its_use(self) -> Self:
        if self.s3_sse_kms_key_id and not (self.s3_sse or "").startswith("aws:kms"):
            raise ValueError("IMAGEMILL_S3_SSE_KMS_KEY_ID needs IMAGEMILL_S3_SSE=aws:kms")
        return self

    @model_validator(mode="after")
    def _a_store_is_chosen(self) -> Self:
        locate(self)
        return self

    @property
    def expects_keys(self) -> bool:
        """True if requests to the API need a key even while there is none."""
        return not (self.open_without_keys or self.on_loopback)

    def result_url_s(self, *, with_keys: bool) -> int:
        """Return the seconds that URLs of results live, where requests need keys or do not.

        Whoever holds such a URL reads the file without a key, so keys shorten it.
        """
        if self.url_expires_s is not None:
            return self.url_expires_s
        return _URL_WITH_KEYS_S if with_keys else _MAX_URL_S

    @property
    def shares_signing_secret(self) -> bool:
        """True if a URL that one service signs is certainly valid at all APIs."""
        return bool(revealed(self.signing_secret)) or self.on_one_machine

    @property
    def public_base_url(self) -> str:
        """The API's base URL for clients, without a trailing slash."""
        host = "localhost" if self.reached_host == "127.0.0.1" else self.reached_host
        return (self.public_url or f"{self.scheme}://{host}:{self.port}").rstrip("/")


def locate(settings: StoreSettings) -> Path | S3Location | AzureLocation:
    """Return the folder, bucket or container of the settings.

    In this order: OBJECT_STORE_URL (`file:` and a path, `s3://bucket/prefix`, or the same with
    `gs:` or `az:`), R2_BUCKET_NAME, UPLOAD_FOLDER, and else the folder `objects` in IMAGEMILL_HOME.

    Raises:
        ValueError: a setting is wrong; the text is a sentence for the operator.
    """
    url = settings.object_store_url
    if url and url.startswith(("s3:", "gs:")):
        return _s3(settings, url)
    if url and url.startswith("az:"):
        return _azure(settings, url)
    if url:
        return _folder(url)
    if settings.r2_bucket_name:
        return _r2(settings, settings.r2_bucket_name)
    return settings.upload_folder or settings.home / "objects"


def _folder(url: str) -> Path:
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path:
        raise ValueError(
            "OBJECT_STORE_URL must be file: with a path, or s3://bucket, gs://bucket or "
            "az://container with an optional prefix"
        )
    return Path(unquote(parts.path))


def _s3(settings: StoreSettings, url: str) -> S3Location:
    parts = urlsplit(url)
    if not parts.netloc:
        raise ValueError("OBJECT_STORE_URL must name a bucket: s3://bucket or s3://bucket/prefix")
    server = settings.s3_endpoint_url or (_GOOGLE if parts.scheme == "gs" else None)
    return S3Location(
        bucket=parts.netloc,
        prefix=unquote(parts.path).strip("/"),
        endpoint_url=_server("S3_ENDPOINT_URL", server),
        public_endpoint_url=_server("S3_PUBLIC_ENDPOINT_URL", settings.s3_public_endpoint_url),
        region=settings.aws_region,
        access_key_id=settings.aws_access_key_id,
        secret_access_key=revealed(settings.aws_secret_access_key),
        session_token=revealed(settings.aws_session_token),
    )


def _azure(settings: StoreSettings, url: str) -> AzureLocation:
    parts = urlsplit(url)
    if not parts.netloc:
        raise ValueError("OBJECT_STORE_URL must name a container: az://container[/prefix]")
    account = settings.azure_storage_account
    if not account:
        raise ValueError("OBJECT_STORE_URL begins with az:, which needs AZURE_STORAGE_ACCOUNT")
    server = _server("AZURE_STORAGE_ENDPOINT_URL", settings.azure_storage_endpoint_url)
    return AzureLocation(
        container=parts.netloc,
        account=account,
        endpoint_url=(server or f"https://{account}.blob.core.windows.net").rstrip("/"),
        prefix=unquote(parts.path).strip("/"),
        key=revealed(settings.azure_storage_key) or None,
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
    """Return the secret itself, None if it is unset."""
    return secret.get_secret_value() if secret else None
