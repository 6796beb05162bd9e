"""Clients of S3 servers, and how long their credentials live."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
from botocore.config import Config

from imagemill.settings.storage import S3Location

if TYPE_CHECKING:
    from imagemill.settings import StoreSettings

# Seconds that S3 lets a presigned URL live.
MAX_URL_S = 7 * 24 * 3600
# Seconds that a presigned URL lives where the credentials' end is unknown, as it is of a session
# token in a setting. AWS issues none for less than 15 minutes, and most for an hour.
_UNKNOWN_LIFE_S = 3600


class S3Client(NamedTuple):
    """A boto3 client of one server, and the credentials that it signs with."""

    calls: Any
    credentials: Any

    def url_life_s(self, wanted_s: int, now: datetime | None = None) -> int:
        """Return for how many seconds a URL that is presigned now can be valid.

        At most `wanted_s` and 7 days; also at most as long as the credentials, with which S3
        refuses a URL whatever it says. Those of a role are renewed first where they end soon.

        Raises:
            BotoCoreError: the credentials cannot be renewed.
        """
        life_s = min(wanted_s, MAX_URL_S)
        if self.credentials is None:
            return life_s
        frozen = self.credentials.get_frozen_credentials()
        # botocore has no public name for the end; None as long as nothing was fetched.
        ends = getattr(self.credentials, "_expiry_time", None)
        if ends is not None:
            left_s = (ends - (now or datetime.now(UTC))).total_seconds()
            return max(1, min(life_s, int(left_s)))
        return min(life_s, _UNKNOWN_LIFE_S) if frozen.token else life_s


def open_client(
    location: S3Location, endpoint_url: str | None, settings: StoreSettings
) -> S3Client:
    """Return a client of the server at `endpoint_url`, of AWS without one; sends nothing to it."""
    session = boto3.session.Session(
        aws_access_key_id=location.access_key_id or None,
        aws_secret_access_key=location.secret_access_key or None,
        aws_session_token=location.session_token or None,
        region_name=location.region or None,
    )
    path_style = settings.s3_path_style
    if path_style is None:
        path_style = bool(endpoint_url)
    calls = session.client(
        "s3",
        endpoint_url=endpoint_url or None,
        region_name=session.region_name or ("auto" if location.is_google else "us-east-1"),
        config=Config(
            signature_version="s3v4",
            # boto3's default, "auto", presigns for the global host, which sends clients of a new
            # bucket to its region's, where the signature does not fit.
            s3={"addressing_style": "path" if path_style else "virtual"},
            connect_timeout=settings.s3_connect_timeout_s,
            read_timeout=settings.s3_read_timeout_s,
            retries={"mode": "standard", "total_max_attempts": settings.s3_attempts},
            max_pool_connections=32,
            # boto3's own default adds trailers with checksums, which Google, R2 and older servers
            # refuse.
            request_checksum_calculation=settings.s3_checksums,
            response_checksum_validation=settings.s3_checksums,
        ),
    )
    return S3Client(calls, session.get_credentials())
