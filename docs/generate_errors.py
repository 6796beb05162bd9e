"""Write docs/errors.md from the closed list of error codes in `schemas/errors.py`.

`python docs/generate_errors.py` rewrites the page, `--check` returns 1 if it is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pages import write_or_check

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

# The checkout need not be installed.
from schemas.errors import ErrorClass, ErrorCode, JobError  # noqa: E402

PAGE = ROOT / "docs" / "errors.md"
_HEAD = """\
# Errors

An item or a job that fails says so the same way in every answer and event:
`{"code": ..., "class": ..., "message": ...}`. The codes are a closed list; the message is a
sentence for people. The class says who has to act:

"""
_CLASSES = {
    ErrorClass.INPUT: "the sender; the same job will fail again",
    ErrorClass.MODEL: "the operator of the models",
    ErrorClass.INFRASTRUCTURE: "the operator of the system",
    ErrorClass.CANCELLED: "nobody",
}
_RETRIED = """\

An item with a code that is tried again has failed `IMAGEMILL_MAX_ATTEMPTS` times, with a growing
backoff between attempts (`IMAGEMILL_RETRY_BASE_S`, `IMAGEMILL_RETRY_MAX_S`).

"""
_MEANINGS = {
    ErrorCode.IMAGE_UNDECODABLE: "the file is no image, is damaged, or has an unsupported format",
    ErrorCode.IMAGE_TOO_LARGE: "over `IMAGEMILL_MAX_IMAGE_BYTES` or `IMAGEMILL_MAX_IMAGE_PIXELS`",
    ErrorCode.IMAGE_MISSING: "the item has no image, or the store no longer has it",
    ErrorCode.URL_BLOCKED: "the URL may not be fetched: its form, or a private address",
    ErrorCode.URL_UNREACHABLE: "the URL gave no usable answer; a refusal such as 404 is final",
    ErrorCode.PARAMS_INVALID: "the params do not fit the operation, or this image",
    ErrorCode.OPERATION_UNKNOWN: "no operation of that name is installed",
    ErrorCode.MODEL_UNAVAILABLE: "the model is not here, is damaged, or cannot run on this machine",
    ErrorCode.MODEL_FAILED: "the model was run, and failed or returned unusable values",
    ErrorCode.TIMEOUT: "the item ran longer than `IMAGEMILL_ITEM_TIMEOUT_S`",
    ErrorCode.WORKER_CRASHED: "the process that ran the item died",
    ErrorCode.OUT_OF_MEMORY: "the item needs more than `IMAGEMILL_ITEM_MEMORY_BYTES`",
    ErrorCode.STORE_UNAVAILABLE: "the object store did not answer, or refused",
    ErrorCode.CANCELLED: "the job was cancelled before it ended",
    ErrorCode.INTERNAL: "a defect of imagemill or of an operation; the worker's log has more",
}


def main(arguments: list[str]) -> int:
    """Rewrite the page, or compare it; return the exit status."""
    return write_or_check(PAGE, render(), arguments)


def render() -> str:
    """Return the page's text.

    Raises:
        KeyError: a code has no description here.
    """
    classes = "".join(f"- `{each}`: {_CLASSES[each]}\n" for each in ErrorClass)
    lines = ["| code | class | tried again | meaning |", "|---|---|---|---|"]
    for code in ErrorCode:
        error = JobError.of(code, "")
        again = "yes" if error.transient else "no"
        lines.append(f"| `{code}` | {error.error_class} | {again} | {_MEANINGS[code]} |")
    return _HEAD + classes + _RETRIED + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
