"""Errors of S3 servers as sentences that name what is missing: a permission, a key, a region."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from imagemill.storage.errors import ObjectNotFound, StoreUnavailable

_MISSING = {"404", "NoSuchKey", "NotFound"}
_DENIED = {"401", "403", "AccessDenied"}
_UNKNOWN_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"}
_ELSEWHERE = {
    "301",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
}
# By call of S3's API, the permission that AWS checks for it.
_PERMISSIONS = {
    "CreateBucket": "s3:CreateBucket",
    "DeleteObject": "s3:DeleteObject",
    "DeleteObjects": "s3:DeleteObject",
    "GetObject": "s3:GetObject",
    "HeadBucket": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
}
# AWS names the permission in the message: "... is not authorized to perform: kms:Decrypt on ...".
_NAMED_PERMISSION = re.compile(r"not authorized to perform: ([a-z0-9]+:[A-Za-z]+)")


class S3Errors:
    """Makes our errors of boto3's, for one bucket."""

    def __init__(self, bucket: str, server: str, region: str, owner: str | None) -> None:
        """Name the bucket and its server as the settings do; `owner` is the account expected."""
        self._bucket = bucket
        self._server = server
        self._region = region
        self._owner = owner

    @contextmanager
    def translated(self, key: str | None = None) -> Iterator[None]:
        """Raise the store's own errors in place of boto3's; `key` is of the object asked for.

        Raises:
            ObjectNotFound: the server has no object of that key.
            StoreUnavailable: the server is away, or refuses.
        """
        try:
            yield
        except ClientError as error:
            raise self._meaning(error, key) from error
        except S3UploadFailedError as error:
            cause = error.__context__
            if isinstance(cause, ClientError):
                raise self._meaning(cause, key) from error
            raise StoreUnavailable(f"the object server {self._server} failed: {error}") from error
        except NoCredentialsError as error:
            raise StoreUnavailable(
                f"there are no keys for the object server {self._server}: set AWS_ACCESS_KEY_ID "
                "and AWS_SECRET_ACCESS_KEY, or give this machine a role"
            ) from error
        except RecursionError as error:
            # botocore follows a 301 by asking for the bucket's region, which is answered 301, ...
            raise StoreUnavailable(
                f"the object server {self._server} redirects every request: name the server "
                "itself in S3_ENDPOINT_URL, with https where it wants that"
            ) from error
        except (BotoCoreError, OSError) as error:
            raise StoreUnavailable(
                f"the object server {self._server} cannot be reached: {type(error).__name__}"
            ) from error

    def no_bucket(self) -> StoreUnavailable:
        """Return the error of a bucket that does not exist."""
        return StoreUnavailable(
            f"there is no bucket {self._bucket} at the object server {self._server}: create it, "
            "or name another one"
        )

    def wrong_region(self, actual: str) -> StoreUnavailable:
        """Return the error of a bucket that lies in another region than requests are signed for."""
        return StoreUnavailable(
            f"the bucket {self._bucket} is in the region {actual}, not in {self._region}: set "
            f"AWS_REGION={actual}"
        )

    def _meaning(self, error: ClientError, key: str | None) -> ObjectNotFound | StoreUnavailable:
        code = str(error.response.get("Error", {}).get("Code", "an unnamed error"))
        if code == "NoSuchBucket":
            return self.no_bucket()
        if code in _MISSING and key is not None:
            return ObjectNotFound(key)
        actual = _region_of(error)
        if actual and actual != self._region and (code in _ELSEWHERE or code == "400"):
            return self.wrong_region(actual)
        return StoreUnavailable(self._reason(code, error))

    def _reason(self, code: str, error: ClientError) -> str:
        server = f"the object server {self._server}"
        if code in _DENIED:
            return self._denied(code, error)
        if code in _UNKNOWN_KEYS:
            return f"{server} refuses our keys for the bucket {self._bucket} ({code})"
        if code in _EXPIRED:
            return (
                f"{server} refuses the session token ({code}): it has expired or belongs to "
                "another key. A role's is renewed by itself; AWS_SESSION_TOKEN is not"
            )
        if code == "RequestTimeTooSkewed":
            return f"{server} refuses the time of this machine's clock ({code}): set the clock"
        if code.lower().startswith("kms"):
            return (
                f"{server} cannot use the KMS key of the bucket {self._bucket} ({code}): it must "
                "exist in the bucket's region and be enabled"
            )
        if code in _ELSEWHERE:
            return (
                f"the bucket {self._bucket} is in another region than {self._region} ({code}): set "
                "AWS_REGION to the bucket's"
            )
        if code == "NotImplemented":
            return (
                f"{server} does not know a header of {error.operation_name} ({code}): "
                "docs/stores.md says which settings it needs"
            )
        if code == "400":
            # boto3 asked for the bucket's region by a HEAD, whose answer has no reason.
            return f"{server} answered 400: is {self._region} the region of {self._bucket}?"
        return f"{server} answered {code}"

    def _denied(self, code: str, error: ClientError) -> str:
        named = _NAMED_PERMISSION.search(str(error.response.get("Error", {}).get("Message", "")))
        permission = named[1] if named else _PERMISSIONS.get(error.operation_name, "s3:PutObject")
        sentence = (
            f"the object server {self._server} refuses our keys for the bucket {self._bucket} "
            f"({code}): {error.operation_name} needs the permission {permission}"
        )
        if self._owner and not named:
            sentence += f", and the bucket to belong to the account {self._owner}"
        return sentence


def _region_of(error: ClientError) -> str | None:
    """Return the bucket's region, which AWS says in a header or in the body of the error."""
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = headers.get("x-amz-bucket-region") or error.response.get("Error", {}).get("Region")
    return str(region) if region else None
