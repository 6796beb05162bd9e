"""The fingerprint of a request, which distinguishes a repeat from another request."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import orjson

from producer_api.http.forms import SubmitBody
from producer_api.jobs.plan import ResolvedOperations
from producer_api.jobs.staging import StagedImage

# The resolved operations stand for these, so a template and its own content are the same request.
_RESOLVED = {"operation", "operations", "params", "template"}


def fingerprint(
    body: SubmitBody, operations: ResolvedOperations, images: Sequence[StagedImage]
) -> str:
    """Return the SHA-256, in hexadecimal, of everything that the job depends on.

    It is part of the job's record: a change here makes repeats across an upgrade differ.
    """
    asked = body.model_dump(mode="json", exclude=_RESOLVED) | {
        "operation": operations.operation,
        "params": operations.params,
        "pipeline": [step.model_dump(mode="json") for step in operations.pipeline],
        "images": [[image.index, image.filename, image.writer.digest()] for image in images],
    }
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()
