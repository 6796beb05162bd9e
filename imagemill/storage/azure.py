"""Objects in a container of Azure Blob Storage."""

from __future__ import annotations

import hashlib
import io
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from azure.core.credentials import AzureNamedKeyCredential, TokenCredential
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.identity import DefaultAzureCredential
from azure.storage.blob import (
    BlobSasPermissions,
    BlobServiceClient,
    ContentSettings,
    ExponentialRetry,
    UserDelegationKey,
    generate_blob_sas,
)

from imagemill.settings.storage import AzureLocation
from imagemill.storage.base import ObjectStat, ObjectWriter, StoredObject, UploadTarget
from imagemill.storage.errors import ObjectNotFound, StoreUnavailable
from imagemill.storage.keys import OCTET_STREAM, check_key, check_prefix, guess_content_type, is_key
from imagemill.storage.spooled import MEMORY_BYTES, SpooledWriter

if TYPE_CHECKING:
    from imagemill.settings import StoreSettings

# Blobs that Azure takes in one batch of deletes.
_MAX_DELETED_BLOBS = 256
# Seconds that Azure lets a key live that signs URLs for an identity, and that are left of one when
# it is renewed, however long the URL asked for.
_MAX_DELEGATION_S = 7 * 24 * 3600
_RENEW_DELEGATION_S = 6 * 24 * 3600
# Seconds by which this machine's clock may be ahead: Azure takes no signature of a key that has not
# begun.
_CLOCK_SKEW_S = 900
_ROLES = (
    "the role Storage Blob Data Contributor on the container, and Storage Blob Delegator on the "
    "account to sign URLs"
)
_REASONS = {
    "AuthenticationFailed": "check AZURE_STORAGE_KEY and this machine's clock",
    "AuthorizationFailure": "the account's network rules or roles exclude this machine, or "
    "AZURE_STORAGE_KEY is of another account",
    "AuthorizationPermissionMismatch": f"this machine's identity needs {_ROLES}",
    "InvalidAuthenticationInfo": "the identity's token is for another tenant or has expired",
    "KeyBasedAuthenticationNotPermitted": "the account forbids keys: unset AZURE_STORAGE_KEY and "
    f"give this machine an identity that has {_ROLES}",
}


class AzureStore:
    """An ObjectStore in a container; nothing is sent before the first call."""

    remote = True

    def __init__(
        self,
        location: AzureLocation,
        settings: StoreSettings,
        identity: TokenCredential | None = None,
    ) -> None:
        """Open a container; without a key by `identity`, or the one that azure-identity finds."""
        self._location = location
        self._prefix = f"{location.prefix}/" if location.prefix else ""
        self._service = _service(location, settings, identity)
        self._container = self._service.get_container_client(location.container)
        self._delegation = _Delegation(self._service)

    def prepare(self) -> str | None:
        """Create the container if it is missing; return its name then, else None."""
        with self._translated():
            if self._container.exists():
                return None
            self._container.create_container()
        return f"container {self._location.container}"

    def check(self) -> None:
        """Raise StoreUnavailable if the container is missing, or its server away or refusing."""
        with self._translated():
            self._container.get_container_properties()

    def writer(self, key: str, memory: int | None = None) -> ObjectWriter:
        """Begin an object; beyond `memory` bytes it is gathered in a temporary file."""
        return SpooledWriter(self, check_key(key), memory)

    def put(self, key: str, data: bytes, content_type: str) -> StoredObject:
        """Store a whole object and replace any of that key."""
        digest = hashlib.sha256(data).hexdigest()
        self.upload(key, io.BytesIO(data), len(data), digest, content_type)
        return StoredObject(key, len(data), digest)

    def upload(self, key: str, file: BinaryIO, size: int, digest: str, content_type: str) -> None:
        """Store an object of known size and digest."""
        blob = self._blob(key)
        with self._translated(key):
            blob.upload_blob(
                file,
                length=size,
                overwrite=True,
                metadata={"sha256": digest},
                content_settings=ContentSettings(content_type=content_type),
            )

    def get(self, key: str) -> bytes:
        """Read a whole object. Raises ObjectNotFound."""
        blob = self._blob(key)
        with self._translated(key):
            return blob.download_blob().readall()

    def open(self, key: str) -> BinaryIO:
        """Open an object, in memory or in a temporary file by its size. Raises ObjectNotFound."""
        blob = self._blob(key)
        file = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 the caller closes it
        try:
            with self._translated(key):
                for chunk in blob.download_blob().chunks():
                    file.write(chunk)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file

    def local_path(self, key: str) -> None:
        """Return None: a container has no files."""
        check_key(key)

    def stat(self, key: str) -> ObjectStat:
        """Return an object's size, type and time. Raises ObjectNotFound."""
        blob = self._blob(key)
        with self._translated(key):
            facts = blob.get_blob_properties()
        content_type = facts.content_settings.content_type or OCTET_STREAM
        return ObjectStat(key, facts.size, content_type, facts.last_modified)

    def delete(self, *keys: str) -> None:
        """Delete the objects of these keys, up to 256 in one request.

        Raises:
            StoreUnavailable: at least one was not deleted.
        """
        names = [self._prefix + check_key(key) for key in keys]
        for start in range(0, len(names), _MAX_DELETED_BLOBS):
            batch = names[start : start + _MAX_DELETED_BLOBS]
            with self._translated():
                answers = self._container.delete_blobs(*batch, raise_on_any_failure=False)
                refused = [
                    answer.status_code for answer in answers if answer.status_code not in (202, 404)
                ]
            if refused:
                raise StoreUnavailable(
                    f"{len(refused)} objects were not deleted, the first because of status "
                    f"{refused[0]}"
                )

    def iter_keys(self, prefix: str = "") -> Iterator[ObjectStat]:
        """List the objects whose key begins with `prefix`, a page of the server at a time."""
        wanted = self._prefix + check_prefix(prefix)
        with self._translated():
            for entry in self._container.list_blobs(name_starts_with=wanted):
                key = entry.name.removeprefix(self._prefix)
                # Others are foreign, such as a folder's marker.
                if is_key(key):
                    yield ObjectStat(key, entry.size, guess_content_type(key), entry.last_modified)

    def url(
        self,
        key: str,
        expires_s: int,
        filename: str | None = None,
        content_type: str | None = None,
    ) -> str:
        """Return a URL with a shared access signature to read, valid for `expires_s` seconds.

        One that is signed by an identity is valid for 7 days at most.
        """
        options = {}
        if filename is not None:
            quoted = quote(filename, safe="", errors="replace")
            options["content_disposition"] = f"attachment; filename*=UTF-8''{quoted}"
        if content_type is not None:
            options["content_type"] = content_type
        return self._signed(key, BlobSasPermissions(read=True), expires_s, **options)

    def upload_url(
        self, key: str, expires_s: int, content_type: str, size: int | None = None
    ) -> UploadTarget:
        """Return a PUT with a shared access signature that creates the object, once.

        Azure can bind it to neither type nor size: whoever uses the object checks them.
        """
        url = self._signed(key, BlobSasPermissions(create=True), expires_s)
        headers = {"Content-Type": content_type, "x-ms-blob-type": "BlockBlob"}
        return UploadTarget(url, "PUT", headers)

    def _signed(
        self, key: str, permission: BlobSasPermissions, expires_s: int, **options: str
    ) -> str:
        blob = self._blob(key)
        ends = datetime.now(UTC) + timedelta(seconds=expires_s)
        secret: dict[str, Any] = {"account_key": self._location.key}
        with self._translated():
            if self._location.key is None:
                delegated, last = self._delegation.key(ends)
                secret, ends = {"user_delegation_key": delegated}, min(ends, last)
            signature = generate_blob_sas(
                self._location.account,
                blob.container_name,
                blob.blob_name,
                permission=permission,
                expiry=ends,
                **secret,
                **options,
            )
        return f"{blob.url}?{signature}"

    def _blob(self, key: str) -> Any:
        return self._container.get_blob_client(self._prefix + check_key(key))

    @contextmanager
    def _translated(self, key: str | None = None) -> Iterator[None]:
        """Raise the store's own errors in place of the library's."""
        server = f"the object server {self._location.endpoint_url}"
        container = self._location.container
        try:
            yield
        except ResourceNotFoundError as error:
            if key is not None and error.error_code != "ContainerNotFound":
                raise ObjectNotFound(key) from error
            raise StoreUnavailable(
                f"there is no container {container} at {server}: create it, or name another one"
            ) from error
        except HttpResponseError as error:
            raise self._refusal(error) from error
        except (AzureError, OSError) as error:
            raise StoreUnavailable(f"{server} cannot be reached: {type(error).__name__}") from error

    def _refusal(self, error: HttpResponseError) -> StoreUnavailable:
        server = f"the object server {self._location.endpoint_url}"
        if isinstance(error, ClientAuthenticationError) and error.response is None:
            # Of azure-identity: nothing was sent to the server.
            return StoreUnavailable(
                f"there is no key for {server}: set AZURE_STORAGE_KEY, or give this machine an "
                f"identity that has {_ROLES}"
            )
        # An enum where the library knows the code, else text.
        code = getattr(error, "error_code", None) or f"status {error.status_code}"
        code = str(getattr(code, "value", code))
        if code in _REASONS:
            return StoreUnavailable(
                f"{server} refuses requests for the container {self._location.container} "
                f"({code}): {_REASONS[code]}"
            )
        return StoreUnavailable(f"{server} answered {code}")


class _Delegation:
    """The key with which Azure lets an identity sign URLs; threads share it."""

    def __init__(self, service: BlobServiceClient) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._key: UserDelegationKey | None = None
        self._ends = datetime.min.replace(tzinfo=UTC)

    def key(self, until: datetime) -> tuple[UserDelegationKey, datetime]:
        """Return a key and its end, asking Azure for one where the last ends before `until`.

        Raises:
            AzureError: there is no identity, or it may not sign.
        """
        now = datetime.now(UTC)
        enough = min(until, now + timedelta(seconds=_RENEW_DELEGATION_S))
        with self._lock:
            if self._key is None or self._ends < enough:
                begins = now - timedelta(seconds=_CLOCK_SKEW_S)
                ends = begins + timedelta(seconds=_MAX_DELEGATION_S)
                self._key = self._service.get_user_delegation_key(begins, ends)
                self._ends = ends
            return self._key, self._ends


def _service(
    location: AzureLocation, settings: StoreSettings, identity: TokenCredential | None
) -> BlobServiceClient:
    credential: Any = (
        AzureNamedKeyCredential(location.account, location.key)
        if location.key
        else identity or DefaultAzureCredential()
    )
    return BlobServiceClient(
        location.endpoint_url,
        credential=credential,
        connection_timeout=settings.s3_connect_timeout_s,
        read_timeout=settings.s3_read_timeout_s,
        # The library's own default waits 15 seconds before the second attempt.
        retry_policy=ExponentialRetry(
            initial_backoff=1,
            increment_base=2,
            retry_total=settings.s3_attempts - 1,
            random_jitter_range=1,
        ),
    )
