"""Objects in a bucket of S3 or a compatible server: Cloudflare R2, MinIO, Garage."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from imagemill.settings.storage import S3Location
from imagemill.storage.base import ObjectStat, ObjectWriter, StoredObject, UploadTarget
from imagemill.storage.errors import ObjectNotFound, StoreUnavailable
from imagemill.storage.keys import OCTET_STREAM, check_key, check_prefix, guess_content_type

if TYPE_CHECKING:
    from imagemill.settings import StoreSettings

# Bytes of an object that are held in memory; a larger one is gathered in a temporary file.
_MEMORY_BYTES = 1024 * 1024
# Keys that S3 takes in one DeleteObjects call.
_MAX_DELETED_KEYS = 1000
# Seconds that S3 lets a presigned URL live.
_MAX_URL_S = 7 * 24 * 3600
# Bytes that are read from the server at a time.
_CHUNK_BYTES = 256 * 1024
# Without threads: an inference process stores one object at a time, in limited memory.
_TRANSFER = TransferConfig(use_threads=False)
_MISSING = {"404", "NoSuchKey", "NotFound"}
_REFUSED = {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}


class S3Store:
    """An ObjectStore in a bucket; nothing is sent before the first call."""

    remote = True

    def __init__(self, location: S3Location, settings: StoreSettings) -> None:
        self._bucket = location.bucket
        self._prefix = f"{location.prefix}/" if location.prefix else ""
        self._server = location.endpoint_url or "AWS"
        self._client = _client(location, location.endpoint_url, settings)
        self._public_client = (
            _client(location, location.public_endpoint_url, settings)
            if location.public_endpoint_url
            else self._client
        )

    def prepare(self) -> str | None:
        """Create the bucket if it is missing; return its name then, else None."""
        try:
            self._head_bucket()
        except ObjectNotFound:
            region, options = self._client.meta.region_name, {}
            # AWS requires the region to be named, except for its first, us-east-1, where naming
            # it is an error. R2's "auto" is no region.
            if region not in ("us-east-1", "auto"):
                options["CreateBucketConfiguration"] = {"LocationConstraint": region}
            with self._asking():
                self._client.create_bucket(Bucket=self._bucket, **options)
            return f"bucket {self._bucket}"
        return None

    def check(self) -> None:
        """Raise StoreUnavailable if the bucket is missing, or its server away or refusing."""
        try:
            self._head_bucket()
        except ObjectNotFound as error:
            raise self._no_bucket() from error

    def writer(self, key: str, memory: int | None = None) -> ObjectWriter:
        """Begin an object; beyond `memory` bytes it is gathered in a temporary file."""
        most = _MEMORY_BYTES if memory is None else min(memory, _MEMORY_BYTES)
        return _S3Writer(self, check_key(key), most)

    def put(self, key: str, data: bytes, content_type: str) -> StoredObject:
        """Store a whole object and replace any of that key."""
        digest = hashlib.sha256(data).hexdigest()
        self._upload(key, io.BytesIO(data), len(data), digest, content_type)
        return StoredObject(key, len(data), digest)

    def get(self, key: str) -> bytes:
        """Read a whole object. Raises ObjectNotFound."""
        with self._asking(key):
            return self._client.get_object(**self._at(key))["Body"].read()

    def open(self, key: str) -> BinaryIO:
        """Open an object, in memory or in a temporary file by its size. Raises ObjectNotFound."""
        file = tempfile.SpooledTemporaryFile(_MEMORY_BYTES)  # noqa: SIM115 the caller closes it
        try:
            with self._asking(key):
                body = self._client.get_object(**self._at(key))["Body"]
                for chunk in body.iter_chunks(_CHUNK_BYTES):
                    file.write(chunk)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file

    def local_path(self, key: str) -> None:
        """Return None: a bucket has no files."""
        check_key(key)

    def stat(self, key: str) -> ObjectStat:
        """Return an object's size, type and time. Raises ObjectNotFound."""
        with self._asking(key):
            head = self._client.head_object(**self._at(key))
        content_type = head.get("ContentType", OCTET_STREAM)
        return ObjectStat(key, head["ContentLength"], content_type, head["LastModified"])

    def delete(self, *keys: str) -> None:
        """Delete the objects of these keys, up to a thousand in one request."""
        names = [{"Key": self._at(key)["Key"]} for key in keys]
        for start in range(0, len(names), _MAX_DELETED_KEYS):
            batch = names[start : start + _MAX_DELETED_KEYS]
            with self._asking():
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": batch, "Quiet": True}
                )
            if errors := answer.get("Errors"):
                raise StoreUnavailable(
                    f"{len(errors)} objects were not deleted, the first because of "
                    f"{errors[0].get('Code', 'an unnamed error')}"
                )

    def iter_keys(self, prefix: str = "") -> Iterator[ObjectStat]:
        """List the objects whose key begins with `prefix`, a page of the server at a time."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + check_prefix(prefix)
        )
        with self._asking():
            for page in pages:
                for entry in page.get("Contents", ()):
                    key = entry["Key"].removeprefix(self._prefix)
                    yield ObjectStat(
                        key, entry["Size"], guess_content_type(key), entry["LastModified"]
                    )

    def url(
        self,
        key: str,
        expires_s: int,
        filename: str | None = None,
        content_type: str | None = None,
    ) -> str:
        """Return a presigned URL, valid for `expires_s` seconds and at most 7 days."""
        params = self._at(key)
        if filename is not None:
            quoted = quote(filename, safe="", errors="replace")
            params["ResponseContentDisposition"] = f"attachment; filename*=UTF-8''{quoted}"
        if content_type is not None:
            params["ResponseContentType"] = content_type
        return self._presigned("get_object", params, expires_s)

    def upload_url(self, key: str, expires_s: int, content_type: str) -> UploadTarget:
        """Return a presigned PUT, valid for `expires_s` seconds and at most 7 days."""
        params = self._at(key) | {"ContentType": content_type}
        url = self._presigned("put_object", params, expires_s)
        return UploadTarget(url, "PUT", {"Content-Type": content_type})

    def _head_bucket(self) -> None:
        with self._asking("bucket"):
            self._client.head_bucket(Bucket=self._bucket)

    def _upload(self, key: str, file: BinaryIO, size: int, digest: str, content_type: str) -> None:
        extra: dict[str, Any] = {"ContentType": content_type, "Metadata": {"sha256": digest}}
        with self._asking(key):
            if size < _TRANSFER.multipart_threshold:
                self._client.put_object(Body=file, **self._at(key), **extra)
            else:
                self._client.upload_fileobj(
                    file, **self._at(key), ExtraArgs=extra, Config=_TRANSFER
                )

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + check_key(key)}

    def _presigned(self, call: str, params: dict[str, str], expires_s: int) -> str:
        with self._asking():
            return self._public_client.generate_presigned_url(
                call, Params=params, ExpiresIn=min(expires_s, _MAX_URL_S)
            )

    @contextmanager
    def _asking(self, key: str | None = None) -> Iterator[None]:
        """Raise the store's own errors in place of boto3's."""
        try:
            yield
        except ClientError as error:
            raise self._meaning(error, key) from error
        except boto3.exceptions.S3UploadFailedError as error:
            cause = error.__context__
            if isinstance(cause, ClientError):
                raise self._meaning(cause, key) from error
            raise StoreUnavailable(f"the object server {self._server} failed: {error}") from error
        except (BotoCoreError, OSError) as error:
            raise StoreUnavailable(
                f"the object server {self._server} cannot be reached: {type(error).__name__}"
            ) from error

    def _meaning(self, error: ClientError, key: str | None) -> ObjectNotFound | StoreUnavailable:
        code = str(error.response.get("Error", {}).get("Code", "an unnamed error"))
        if code == "NoSuchBucket":
            return self._no_bucket()
        if code in _MISSING and key is not None:
            return ObjectNotFound(key)
        if code in _REFUSED:
            return StoreUnavailable(
                f"the object server {self._server} refuses our keys for the bucket "
                f"{self._bucket} ({code})"
            )
        return StoreUnavailable(f"the object server {self._server} answered {code}")

    def _no_bucket(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"there is no bucket {self._bucket} at the object server {self._server}: create it, "
            "or name another one"
        )


class _S3Writer:
    """An ObjectWriter that gathers the object and uploads it whole at its commit."""

    def __init__(self, store: S3Store, key: str, most_held: int) -> None:
        self._store = store
        self._key = key
        self._most_held = most_held
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._memory = bytearray()
        self._path = ""
        self._disk: Any = None

    def write(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        self._bytes += len(chunk)
        if not self._path and self._bytes <= self._most_held:
            self._memory += chunk
            return
        with _keeping():
            if self._disk is None:
                self._disk = self._opened()
            self._disk.write(chunk)

    @property
    def held(self) -> int:
        return len(self._memory)

    def digest(self) -> str:
        return self._digest.hexdigest()

    def file(self) -> BinaryIO:
        if not self._path:
            return io.BytesIO(self._memory)
        with _keeping():
            # A request may have a hundred images, so none keeps a descriptor until more bytes come.
            self._close()
            return open(self._path, "rb")

    def commit(self, content_type: str) -> StoredObject:
        try:
            with self.file() as file:
                self._store._upload(self._key, file, self._bytes, self.digest(), content_type)
        finally:
            self.abort()
        return StoredObject(self._key, self._bytes, self.digest())

    def abort(self) -> None:
        self._memory.clear()
        try:
            self._close()
        finally:
            if self._path:
                os.unlink(self._path)
                self._path = ""

    def _opened(self) -> Any:
        """Open the temporary file to append to, created with the bytes that were in memory."""
        if self._path:
            return open(self._path, "ab")
        disk = tempfile.NamedTemporaryFile(prefix="imagemill-", delete=False)  # noqa: SIM115
        self._path = disk.name
        disk.write(self._memory)
        self._memory.clear()
        return disk

    def _close(self) -> None:
        disk, self._disk = self._disk, None
        if disk is not None:
            disk.close()


@contextmanager
def _keeping() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(
            f"an upload cannot be kept in the temporary folder: {error.strerror}"
        ) from error


def _client(location: S3Location, endpoint_url: str | None, settings: StoreSettings) -> Any:
    session = boto3.session.Session(
        aws_access_key_id=location.access_key_id or None,
        aws_secret_access_key=location.secret_access_key or None,
        aws_session_token=location.session_token or None,
        region_name=location.region or None,
    )
    path_style = settings.s3_path_style
    if path_style is None:
        path_style = bool(endpoint_url)
    return session.client(
        "s3",
        endpoint_url=endpoint_url or None,
        region_name=session.region_name or "us-east-1",
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if path_style else "auto"},
            connect_timeout=settings.s3_connect_timeout_s,
            read_timeout=settings.s3_read_timeout_s,
            retries={"mode": "standard", "total_max_attempts": settings.s3_attempts},
            max_pool_connections=32,
            # boto3's default adds checksum trailers that R2 and older servers refuse.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
