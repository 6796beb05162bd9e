"""The store of objects in an S3 bucket."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from imagemill.settings.storage import S3Location
from imagemill.storage.base import ObjectStat, ObjectWriter, StoredObject, UploadTarget
from imagemill.storage.errors import ObjectNotFound, StoreUnavailable
from imagemill.storage.keys import OCTET_STREAM, check_key, check_prefix, guess_content_type, is_key
from imagemill.storage.s3.client import open_client
from imagemill.storage.s3.errors import S3Errors
from imagemill.storage.spooled import MEMORY_BYTES, SpooledWriter

if TYPE_CHECKING:
    from imagemill.settings import StoreSettings

# Keys that S3 takes in one DeleteObjects call.
_MAX_DELETED_KEYS = 1000
# Bytes that are read from the server at a time.
_CHUNK_BYTES = 256 * 1024
# Without threads: an inference process stores one object at a time, in limited memory.
_TRANSFER = TransferConfig(use_threads=False)
# By argument of PutObject, the header that a client must send with a presigned one.
_HEADERS = {
    "ContentType": "Content-Type",
    "ContentLength": "Content-Length",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "ExpectedBucketOwner": "x-amz-expected-bucket-owner",
}
# Requests at once where a server has none that deletes many objects.
_DELETERS = 8


class S3Store:
    """An ObjectStore in a bucket; nothing is sent before the first call."""

    remote = True

    def __init__(self, location: S3Location, settings: StoreSettings) -> None:
        self._bucket = location.bucket
        self._prefix = f"{location.prefix}/" if location.prefix else ""
        here = open_client(location, location.endpoint_url, settings)
        self._client = here.calls
        self._presigning = (
            open_client(location, location.public_endpoint_url, settings)
            if location.public_endpoint_url
            else here
        )
        self._on_aws = not location.endpoint_url
        self._many_deletes = settings.s3_multi_delete
        if self._many_deletes is None:
            self._many_deletes = not location.is_google
        # In every call: S3 refuses it if the bucket has come to belong to another account.
        self._owner = {"ExpectedBucketOwner": owner} if (owner := settings.s3_bucket_owner) else {}
        self._encryption = _encryption(settings)
        self._errors = S3Errors(
            location.bucket, location.endpoint_url or "AWS", self._region, settings.s3_bucket_owner
        )

    def prepare(self) -> str | None:
        """Create the bucket if it is missing; return its name then, else None."""
        try:
            self._head_bucket()
        except ObjectNotFound:
            options = {}
            # AWS requires the region to be named, except for its first, us-east-1, where naming
            # it is an error. "auto", of R2 and Google, is no region.
            if self._region not in ("us-east-1", "auto"):
                options["CreateBucketConfiguration"] = {"LocationConstraint": self._region}
            with self._errors.translated():
                self._client.create_bucket(Bucket=self._bucket, **options)
            return f"bucket {self._bucket}"
        return None

    def check(self) -> None:
        """Raise StoreUnavailable if the bucket is missing, or its server away or refusing."""
        try:
            actual = self._head_bucket()
        except ObjectNotFound as error:
            raise self._errors.no_bucket() from error
        # boto3 follows AWS to the right region by itself, but clients cannot follow with a URL
        # that was presigned for another one.
        if self._on_aws and actual and actual != self._region:
            raise self._errors.wrong_region(actual)

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
        with self._errors.translated(key):
            return self._client.get_object(**self._at(key))["Body"].read()

    def open(self, key: str) -> BinaryIO:
        """Open an object, in memory or in a temporary file by its size. Raises ObjectNotFound."""
        file = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 the caller closes it
        try:
            with self._errors.translated(key):
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
        with self._errors.translated(key):
            head = self._client.head_object(**self._at(key))
        content_type = head.get("ContentType", OCTET_STREAM)
        return ObjectStat(key, head["ContentLength"], content_type, head["LastModified"])

    def delete(self, *keys: str) -> None:
        """Delete the objects of these keys: a thousand in one request, or one if the server must.

        Raises:
            StoreUnavailable: at least one was not deleted.
        """
        places = [self._at(key) for key in keys]
        if not self._many_deletes:
            with ThreadPoolExecutor(_DELETERS) as threads:
                for _ in threads.map(self._delete_one, places):
                    pass
            return
        for start in range(0, len(places), _MAX_DELETED_KEYS):
            batch = [{"Key": place["Key"]} for place in places[start : start + _MAX_DELETED_KEYS]]
            with self._errors.translated():
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": batch, "Quiet": True}, **self._owner
                )
            if errors := answer.get("Errors"):
                raise StoreUnavailable(
                    f"{len(errors)} objects were not deleted, the first because of "
                    f"{errors[0].get('Code', 'an unnamed error')}"
                )

    def _delete_one(self, place: dict[str, str]) -> None:
        # S3 answers the same for an object that there is not; Google 404.
        with suppress(ObjectNotFound), self._errors.translated(place["Key"]):
            self._client.delete_object(**place)

    def iter_keys(self, prefix: str = "") -> Iterator[ObjectStat]:
        """List the objects whose key begins with `prefix`, a page of the server at a time."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + check_prefix(prefix), **self._owner
        )
        with self._errors.translated():
            for page in pages:
                for entry in page.get("Contents", ()):
                    key = entry["Key"].removeprefix(self._prefix)
                    if not is_key(key):
                        # A foreign object, such as the "folder" that AWS's console creates.
                        continue
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
        # Without the expected owner: that is a header, which a browser does not send.
        params = {"Bucket": self._bucket, "Key": self._at(key)["Key"]}
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
        params: dict[str, Any] = self._at(key) | {"ContentType": content_type} | self._encryption
        if size is not None:
            params["ContentLength"] = size
        headers = {header: str(params[name]) for name, header in _HEADERS.items() if name in params}
        return UploadTarget(self._presigned("put_object", params, expires_s), "PUT", headers)

    @property
    def _region(self) -> str:
        return str(self._client.meta.region_name)

    def _head_bucket(self) -> str | None:
        """Return the bucket's region if the server says it."""
        try:
            with self._errors.translated("bucket"):
                answer = self._client.head_bucket(Bucket=self._bucket, **self._owner)
        except StoreUnavailable as error:
            if isinstance(error.__cause__, ClientError):
                # The answer to a HEAD has no body, so it says no reason; that to a GET does.
                with self._errors.translated("bucket"):
                    self._client.list_objects_v2(Bucket=self._bucket, MaxKeys=1, **self._owner)
            raise
        return answer.get("BucketRegion")

    def upload(self, key: str, file: BinaryIO, size: int, digest: str, content_type: str) -> None:
        """Store an object of known size and digest."""
        extra: dict[str, Any] = {"ContentType": content_type, "Metadata": {"sha256": digest}}
        extra |= self._encryption
        with self._errors.translated(key):
            if size < _TRANSFER.multipart_threshold:
                self._client.put_object(Body=file, **self._at(key), **extra)
            else:
                self._client.upload_fileobj(
                    file, self._bucket, self._at(key)["Key"],
                    ExtraArgs=extra | self._owner, Config=_TRANSFER,
                )  # fmt: skip

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + check_key(key)} | self._owner

    def _presigned(self, call: str, params: dict[str, Any], expires_s: int) -> str:
        with self._errors.translated():
            return self._presigning.calls.generate_presigned_url(
                call, Params=params, ExpiresIn=self._presigning.url_life_s(expires_s)
            )


def _encryption(settings: StoreSettings) -> dict[str, str]:
    """Return the arguments of calls that store an object encrypted as the settings say."""
    chosen = {"ServerSideEncryption": settings.s3_sse, "SSEKMSKeyId": settings.s3_sse_kms_key_id}
    return {name: value for name, value in chosen.items() if value}
