"""The fingerprint of a request, which distinguishes a repeat from another request."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import orjson

from producer_api.http.forms import SubmitBody
from producer_api.jobs.plan import ResolvedOperations
from producer_api.jobs.staging import StagedImage

# Fields of the first version, part of every fingerprint. A later field counts only where it differs
# from its default: a request without it keeps the fingerprint that earlier versions gave it.
_FIRST_FIELDS = {"expires_in", "inputs", "metadata", "priority", "webhook"}
# The resolved operations stand for these, so a template and its own content are the same request.
_RESOLVED = {"operation", "operations", "params", "template"}
_DEFAULTS = {
    name: field.get_default(call_default_factory=True)
    for name, field in SubmitBody.model_fields.items()
}


def fingerprint(
    body: SubmitBody, operations: ResolvedOperations, images: Sequence[StagedImage]
) -> str:
    """Return the SHA-256, in hexadecimal, of everything that the job depends on.

    It is part of the job's record: a change here makes repeats across an upgrade differ.
    """
    asked = body.model_dump(mode="json", exclude=_RESOLVED | _left_out(body)) | {
        "operation": operations.operation,
        "params": operations.params,
        "pipeline": [step.model_dump(mode="json") for step in operations.pipeline],
        "images": [[image.index, image.filename, image.writer.digest()] for image in images],
    }
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _left_out(body: SubmitBody) -> set[str]:
    later = SubmitBody.model_fields.keys() - _FIRST_FIELDS
    return {name for name in later if getattr(body, name) == _DEFAULTS[name]}
