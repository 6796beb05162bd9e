"""Objects in a bucket of S3 or a compatible server: Cloudflare R2, MinIO, Garage."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

from imagemill.settings.storage import S3Location
from imagemill.storage.base import ObjectStat, ObjectWriter, StoredObject, UploadTarget
from imagemill.storage.errors import ObjectNotFound, StoreUnavailable
from imagemill.storage.keys import OCTET_STREAM, check_key, check_prefix, guess_content_type
from imagemill.storage.s3_client import open_client
from imagemill.storage.spooled import MEMORY_BYTES, SpooledWriter

if TYPE_CHECKING:
    from imagemill.settings import StoreSettings

# Keys that S3 takes in one DeleteObjects call.
_MAX_DELETED_KEYS = 1000
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
        here = open_client(location, location.endpoint_url, settings)
        self._client = here.calls
        self._presigning = (
            open_client(location, location.public_endpoint_url, settings)
            if location.public_endpoint_url
            else here
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
        return SpooledWriter(self, check_key(key), memory)

    def put(self, key: str, data: bytes, content_type: str) -> StoredObject:
        """Store a whole object and replace any of that key."""
        digest = hashlib.sha256(data).hexdigest()
        self.upload(key, io.BytesIO(data), len(data), digest, content_type)
        return StoredObject(key, len(data), digest)

    def get(self, key: str) -> bytes:
        """Read a whole object. Raises ObjectNotFound."""
        with self._asking(key):
            return self._client.get_object(**self._at(key))["Body"].read()

    def open(self, key: str) -> BinaryIO:
        """Open an object, in memory or in a temporary file by its size. Raises ObjectNotFound."""
        file = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 the caller closes it
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
        """Return a presigned URL, valid for `expires_s` seconds if the credentials are."""
        params = self._at(key)
        if filename is not None:
            quoted = quote(filename, safe="", errors="replace")
            params["ResponseContentDisposition"] = f"attachment; filename*=UTF-8''{quoted}"
        if content_type is not None:
            params["ResponseContentType"] = content_type
        return self._presigned("get_object", params, expires_s)

    def upload_url(
        self, key: str, expires_s: int, content_type: str, size: int | None = None
    ) -> UploadTarget:
        """Return a presigned PUT, valid for `expires_s` seconds if the credentials are.

        Type and size are signed headers: with others the signature does not fit, and S3 answers
        403.
        """
        params: dict[str, Any] = self._at(key) | {"ContentType": content_type}
        headers = {"Content-Type": content_type}
        if size is not None:
            params["ContentLength"] = size
            headers["Content-Length"] = str(size)
        return UploadTarget(self._presigned("put_object", params, expires_s), "PUT", headers)

    def _head_bucket(self) -> None:
        with self._asking("bucket"):
            self._client.head_bucket(Bucket=self._bucket)

    def upload(self, key: str, file: BinaryIO, size: int, digest: str, content_type: str) -> None:
        """Store an object of known size and digest."""
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

    def _presigned(self, call: str, params: dict[str, Any], expires_s: int) -> str:
        with self._asking():
            return self._presigning.calls.generate_presigned_url(
                call, Params=params, ExpiresIn=self._presigning.url_life_s(expires_s)
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
