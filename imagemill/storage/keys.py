"""Object keys: made, checked, and the content type that a key's ending stands for."""

from __future__ import annotations

import hashlib
import zlib

from imagemill.storage.errors import InvalidKey

MAX_KEY_BYTES = 512
# The longest file name that ext4, XFS, APFS and NTFS all take.
MAX_SEGMENT_BYTES = 255

# Folders that uploads are spread over.
_UPLOAD_FOLDERS = 256
# Hexadecimal digits of the owner's SHA-256 in the key of an upload: 64 bits.
_OWNER_DIGITS = 16

OCTET_STREAM = "application/octet-stream"

# The standard library's table reads files of the system, so that machines disagree.
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
    """Return the prefix of the keys of a job's uploads; no other job's keys have it.

    Jobs share folders: to create one for each took a file system as long as to write a small
    image.
    """
    return f"uploads/{zlib.crc32(job_id.encode()) % _UPLOAD_FOLDERS:02x}/{job_id}."


def upload_key(job_id: str, index: int) -> str:
    """Return the key of the input of item `index` of a job."""
    return check_key(f"{upload_prefix(job_id)}{index}")


def loose_upload_key(upload_id: str, owner: str | None = None) -> str:
    """Return the key of an image that an owner uploaded before any job named it.

    It is no job's: uploads of a job are deleted with it, so other jobs may not name them. No job
    id contains a tilde. The owner is part of the key, so that under an id that another owner got
    there is nothing.
    """
    if owner is None:
        return upload_key(f"~{upload_id}", 0)
    digest = hashlib.sha256(owner.encode()).hexdigest()[:_OWNER_DIGITS]
    return upload_key(f"~{upload_id}~{digest}", 0)


def result_prefix(job_id: str) -> str:
    """Return the prefix of the keys of a job's results; no other job's keys have it."""
    return f"results/{job_id}/"


def result_key(job_id: str, index: int, extension: str) -> str:
    """Return the key of the result of item `index`; `extension` comes without its dot."""
    return check_key(f"{result_prefix(job_id)}{index}.{extension}")


def job_of_key(key: str) -> str:
    """Return the id of the job whose upload or result has that key; of another key, any text."""
    kind, _, rest = key.partition("/")
    if kind == "uploads":
        return rest.rpartition("/")[2].rpartition(".")[0]
    return rest.partition("/")[0]


def check_key(key: str) -> str:
    """Return the key if it can name a file below a folder and an S3 object alike.

    A segment may not begin with a dot: that excludes `.` and `..`, and leaves hidden names to the
    store.

    Raises:
        InvalidKey: it is absolute, empty, too long, not UTF-8, or has a bad segment.
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


def is_key(key: str) -> bool:
    """Return whether an object of ours may have that key, as `check_key` decides."""
    try:
        check_key(key)
    except InvalidKey:
        return False
    return True


def check_prefix(prefix: str) -> str:
    """Return the prefix if a valid key may begin with it; the empty one is every key's.

    Raises:
        InvalidKey: no valid key begins with it.
    """
    if prefix:
        check_key(prefix.removesuffix("/"))
    return prefix


def guess_content_type(key: str) -> str:
    """Return the content type of the key's ending, `application/octet-stream` if it has none."""
    return _CONTENT_TYPES.get(key.rpartition(".")[2].lower(), OCTET_STREAM)
