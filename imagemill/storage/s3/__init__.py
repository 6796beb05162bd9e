"""Objects in a bucket of S3 or a compatible server: MinIO, Ceph, R2, Google Cloud Storage."""

from __future__ import annotations

from imagemill.storage.s3.store import S3Store

__all__ = ["S3Store"]
