"""Settings of the audit records."""

from __future__ import annotations

from pydantic import Field

from imagemill.settings.environment import EnvironmentSettings


class AuditSettings(EnvironmentSettings):
    """Records of who did what, on the topic `audit`."""

    audit: bool | None = Field(
        None,
        description="whether requests that change something, and those that are refused, are "
        "recorded; if unset, as long as requests need a key or a token",
    )
    audit_reads: bool = Field(
        False, description="whether reads of input and result files are recorded as well"
    )
