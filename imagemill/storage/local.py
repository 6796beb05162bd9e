"""Objects as files of one folder, published by a rename and digested while written."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from imagemill.storage.base import ObjectStat, ObjectWriter, StoredObject, UploadTarget
from imagemill.storage.errors import InvalidKey, ObjectNotFound, StoreUnavailable
from imagemill.storage.keys import OCTET_STREAM, check_key, check_prefix, guess_content_type
from imagemill.storage.signing import ApiUrls, UrlSigner

# A valid key never begins with a dot, so no object can lie in here.
_DRAFTS = ".drafts"
# A live writer writes more often than this; an older draft was left by a process that died.
_DRAFT_LIFETIME_S = 3600.0
# Bytes of an upload that are held in memory until it is checked, and then written at once.
_HELD_BYTES = 256 * 1024
_TYPE_ATTRIBUTE = "user.imagemill.content_type"
_NO_SUCH_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_NO_ATTRIBUTE = {errno.ENODATA, errno.ENOTSUP, errno.EPERM, errno.ENOSPC, errno.E2BIG}


class LocalStore:
    """An ObjectStore in a folder; several processes may use the same one."""

    remote = False

    def __init__(
        self, root: Path, public_url: str, signer: UrlSigner, sync_to_disk: bool = False
    ) -> None:
        """Create the folder if it is missing, and remove the drafts of processes that died.

        `public_url` is the API's URL for clients. With `sync_to_disk` an object survives a power
        failure right after its commit, at the price of some milliseconds each.

        Raises:
            StoreUnavailable: the folder cannot be created or read.
        """
        self.root = root.absolute()
        self._drafts = self.root / _DRAFTS
        self._draft_prefix = f"{self._drafts}/{os.getpid()}-"
        self._prefix = f"{self.root}/"
        self._urls = ApiUrls(public_url, signer)
        self._sync = sync_to_disk
        with _storing():
            self._drafts.mkdir(parents=True, exist_ok=True)
            self._remove_old_drafts()

    def prepare(self) -> None:
        """Do nothing: opening the store has created its folder."""

    def check(self) -> None:
        """Raise StoreUnavailable if the folder is missing or cannot be written."""
        if not os.access(self._drafts, os.W_OK | os.X_OK):
            raise StoreUnavailable(
                f"the object folder {self.root} is missing or cannot be written to"
            )

    def writer(self, key: str, memory: int | None = None) -> ObjectWriter:
        """Begin an object; its draft file is created once it has more bytes than fit in memory."""
        most = _HELD_BYTES if memory is None else min(memory, _HELD_BYTES)
        return _LocalWriter(self, key, self._path(key), most)

    def put(self, key: str, data: bytes, content_type: str) -> StoredObject:
        """Store a whole object and replace any of that key."""
        writer = self.writer(key)
        try:
            writer.write(data)
            return writer.commit(content_type)
        finally:
            writer.abort()

    def get(self, key: str) -> bytes:
        """Read a whole object. Raises ObjectNotFound."""
        with self.open(key) as file:
            return file.read()

    def open(self, key: str) -> BinaryIO:
        """Open an object's file. Raises ObjectNotFound."""
        with _reading(key):
            return open(self._path(key), "rb")

    def local_path(self, key: str) -> Path:
        """Return an object's file. Raises ObjectNotFound."""
        path = Path(self._path(key))
        if not path.is_file():
            raise ObjectNotFound(key)
        return path

    def stat(self, key: str) -> ObjectStat:
        """Return an object's size, type and time. Raises ObjectNotFound."""
        path = self._path(key)
        with _reading(key):
            if os.path.isdir(path):
                raise ObjectNotFound(key)
            return _stat(key, os.stat(path), _kept_type(path) or guess_content_type(key))

    def delete(self, *keys: str) -> None:
        """Delete the objects of these keys, and folders that become empty."""
        for key in keys:
            path = self._path(key)
            with _storing():
                if _unlink(path):
                    self._remove_empty_folders(os.path.dirname(path))

    def iter_keys(self, prefix: str = "") -> Iterator[ObjectStat]:
        """List the objects whose key begins with `prefix`; walks only folders that may have one."""
        folder = self._prefix + check_prefix(prefix).rpartition("/")[0]
        pending = [folder.rstrip("/")]
        while pending:
            for entry in _entries(pending.pop()):
                key = entry.path.removeprefix(self._prefix)
                if entry.is_dir(follow_symlinks=False):
                    inside = key + "/"
                    if inside.startswith(prefix) or prefix.startswith(inside):
                        pending.append(entry.path)
                elif key.startswith(prefix) and (facts := _facts(entry)):
                    yield _stat(key, facts, guess_content_type(key))

    def url(
        self,
        key: str,
        expires_s: int,
        filename: str | None = None,
        content_type: str | None = None,
    ) -> str:
        """Return a signed URL of the API's files route, valid for `expires_s` seconds."""
        return self._urls.get(key, expires_s, filename, content_type)

    def upload_url(
        self, key: str, expires_s: int, content_type: str, size: int | None = None
    ) -> UploadTarget:
        """Return a PUT to the API's files route, valid for `expires_s` seconds."""
        return self._urls.put(key, expires_s, content_type, size)

    def _path(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _draft(self) -> str:
        return self._draft_prefix + secrets.token_hex(8)

    def _finish(self, descriptor: int, key: str, content_type: str) -> None:
        if content_type != guess_content_type(key):
            _keep_type(descriptor, content_type)
        if self._sync:
            os.fsync(descriptor)

    def _publish(self, draft: str, target: str) -> None:
        # Most objects go to a folder that exists, so it is created only when the rename fails. A
        # `delete` that finds it empty may remove it between its creation and the next rename.
        while True:
            try:
                os.replace(draft, target)
                break
            except FileNotFoundError:
                if not os.path.exists(draft):
                    raise
                _make_folders(target)
            except (IsADirectoryError, NotADirectoryError) as error:
                raise _key_overlaps(target, self._prefix) from error
        if self._sync:
            _sync_folder(os.path.dirname(target))

    def _remove_empty_folders(self, folder: str) -> None:
        while len(folder) >= len(self._prefix):
            try:
                os.rmdir(folder)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                    return
                raise
            folder = os.path.dirname(folder)

    def _remove_old_drafts(self) -> None:
        oldest = time.time() - _DRAFT_LIFETIME_S
        for entry in _entries(str(self._drafts)):
            facts = _facts(entry)
            if facts and facts.st_mtime < oldest:
                _unlink(entry.path)


class _LocalWriter:
    """An ObjectWriter into memory and, beyond its limit, a draft file that a rename publishes."""

    def __init__(self, store: LocalStore, key: str, target: str, most_held: int) -> None:
        self._store = store
        self._key = key
        self._target = target
        self._most_held = most_held
        self._held: list[bytes] = []
        self.held = 0
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._draft = ""
        self._descriptor = -1

    def write(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        self._bytes += len(chunk)
        self._held.append(chunk)
        self.held += len(chunk)
        if self.held > self._most_held:
            self._flush()

    def digest(self) -> str:
        return self._digest.hexdigest()

    def file(self) -> BinaryIO:
        if self._draft:
            self._flush()
            # A request may have a hundred images, so none keeps a descriptor until more bytes come.
            self._close()
            return open(self._draft, "rb")
        held = b"".join(self._held)
        self._held = [held]
        return BytesIO(held)

    def commit(self, content_type: str) -> StoredObject:
        try:
            self._flush()
            with _storing():
                self._store._finish(self._descriptor, self._key, content_type)
                self._close()
                self._store._publish(self._draft, self._target)
        except BaseException:
            self.abort()
            raise
        self._draft = ""
        return StoredObject(self._key, self._bytes, self.digest())

    def abort(self) -> None:
        self._held.clear()
        self.held = 0
        self._close()
        if self._draft:
            _unlink(self._draft)
            self._draft = ""

    def _flush(self) -> None:
        """Write the bytes in memory to the draft."""
        data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held.clear()
        self.held = 0
        with _storing():
            if not self._draft:
                draft = self._store._draft()
                self._descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
                self._draft = draft
            elif self._descriptor < 0:
                self._descriptor = os.open(self._draft, os.O_APPEND | os.O_WRONLY)
            _write_all(self._descriptor, data)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


@contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"the object folder cannot be written: {error.strerror}") from error


@contextmanager
def _reading(key: str) -> Iterator[None]:
    try:
        yield
    except _NO_SUCH_FILE as error:
        raise ObjectNotFound(key) from error
    except OSError as error:
        raise StoreUnavailable(f"the object folder cannot be read: {error.strerror}") from error


def _write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


def _unlink(path: str) -> bool:
    """Delete a file; return False if there is none."""
    try:
        os.unlink(path)
    except _NO_SUCH_FILE:
        return False
    except PermissionError:
        # macOS raises this for a folder, Linux IsADirectoryError.
        if os.path.isdir(path):
            return False
        raise
    return True


def _make_folders(target: str) -> None:
    folder = os.path.dirname(target)
    try:
        os.makedirs(folder, exist_ok=True)
    except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
        # `delete` may remove a folder that it finds empty meanwhile; then the caller tries again.
        if any(os.path.isfile(path) for path in (folder, *Path(folder).parents)):
            raise InvalidKey("another object's key is the beginning of this one") from error


def _key_overlaps(target: str, prefix: str) -> InvalidKey:
    return InvalidKey(
        f"{target.removeprefix(prefix)} is the beginning of another object's key, or continues one"
    )


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _keep_type(descriptor: int, content_type: str) -> None:
    """Keep a type that the key's ending does not stand for, if the file system has attributes."""
    if not hasattr(os, "setxattr"):
        return
    try:
        os.setxattr(descriptor, _TYPE_ATTRIBUTE, content_type.encode())
    except OSError as error:
        # The object matters more than its type, which can be read from its first bytes.
        if error.errno not in _NO_ATTRIBUTE:
            raise


def _kept_type(path: str) -> str | None:
    if not hasattr(os, "getxattr"):
        return None
    try:
        return os.getxattr(path, _TYPE_ATTRIBUTE).decode(errors="replace") or OCTET_STREAM
    except OSError as error:
        if error.errno in _NO_ATTRIBUTE:
            return None
        raise


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """List a folder, without the store's own files; nothing if the folder was deleted."""
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except _NO_SUCH_FILE:
        return
    except OSError as error:
        raise StoreUnavailable(f"the object folder cannot be read: {error.strerror}") from error


def _facts(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Return an entry's facts, None if it was deleted since it was listed."""
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


def _stat(key: str, facts: os.stat_result, content_type: str) -> ObjectStat:
    return ObjectStat(key, facts.st_size, content_type, datetime.fromtimestamp(facts.st_mtime, UTC))
