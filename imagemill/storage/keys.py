"""Object keys: how they are made, which are refused, and the content type their ending tells."""

from __future__ import annotations

import zlib

from imagemill.storage.errors import InvalidKey

MAX_KEY_BYTES = 512
# The longest file name that ext4, XFS, APFS and NTFS all take.
MAX_SEGMENT_BYTES = 255

_UPLOAD_FOLDERS = 256

OCTET_STREAM = "application/octet-stream"

# Own table: the standard library's reads files of the system, so machines would disagree.
_CONTENT_TYPES = {
    "avif": "image/avif",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "heic": "image/heic",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "json": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "txt": "text/plain",
    "webp": "image/webp",
}


def upload_prefix(job_id: str) -> str:
    """What the keys of a job's uploads begin with, and no other job's do.

    Jobs share folders: on a file system, one for each took as long as its small image.
    """
    return f"uploads/{zlib.crc32(job_id.encode()) % _UPLOAD_FOLDERS:02x}/{job_id}."


def upload_key(job_id: str, index: int) -> str:
    """Where the input of item `index` of a job is stored."""
    return check_key(f"{upload_prefix(job_id)}{index}")


def loose_upload_key(upload_id: str) -> str:
    """Where an image is stored that was uploaded before any job named it: under no job's id.

    A job's own uploads go with it, so no other job may name them; and no job's id has a tilde.
    """
    return upload_key(f"~{upload_id}", 0)


def result_prefix(job_id: str) -> str:
    """What the keys of a job's results begin with, and no other job's do."""
    return f"results/{job_id}/"


def result_key(job_id: str, index: int, extension: str) -> str:
    """Where the result of item `index` is stored; `extension` comes without its dot."""
    return check_key(f"{result_prefix(job_id)}{index}.{extension}")


def job_of_key(key: str) -> str:
    """The id of the job whose upload or result has that key; of another key, anything."""
    kind, _, rest = key.partition("/")
    if kind == "uploads":
        return rest.rpartition("/")[2].rpartition(".")[0]
    return rest.partition("/")[0]


def check_key(key: str) -> str:
    """The key itself, when it can stand for a file below a folder and for an S3 object alike.

    A segment may not begin with a dot: that shuts out `.` and `..`, and keeps hidden names for
    the store's own use.

    Raises:
        InvalidKey: absolute, empty, too long, not UTF-8, or with a segment that is refused.
    """
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise InvalidKey("an object key must be valid Unicode text") from error
    if not 0 < size <= MAX_KEY_BYTES:
        raise InvalidKey(f"an object key must have 1 to {MAX_KEY_BYTES} bytes, not {size}")
    # isprintable is False for every control, separator (except the space) and lone surrogate.
    if not key.isprintable():
        raise InvalidKey("an object key may not contain control characters")
    if "\\" in key:
        raise InvalidKey("an object key may not contain a backslash")
    for segment in key.split("/"):
        if not segment:
            raise InvalidKey("an object key may not begin or end with '/', nor contain '//'")
        if segment[0] == ".":
            raise InvalidKey("no part of an object key may begin with a dot")
        if len(segment) > MAX_SEGMENT_BYTES or len(segment.encode()) > MAX_SEGMENT_BYTES:
            raise InvalidKey(f"a part of an object key may have {MAX_SEGMENT_BYTES} bytes at most")
    return key


def check_prefix(prefix: str) -> str:
    """The prefix itself, when some valid key may begin with it; the empty one is every key's.

    Raises:
        InvalidKey: as for a key.
    """
    if prefix:
        check_key(prefix.removesuffix("/"))
    return prefix


def guess_content_type(key: str) -> str:
    """The content type that the key's ending tells, `application/octet-stream` when none does."""
    return _CONTENT_TYPES.get(key.rpartition(".")[2].lower(), OCTET_STREAM)
