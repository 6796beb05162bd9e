"""Secrets that are generated once and kept in a file that only the owner can read."""

from __future__ import annotations

import logging
import multiprocessing
import os
import secrets
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagemill.settings.environment import HomeSettings

log = logging.getLogger(__name__)


def own_secret(settings: HomeSettings, name: str, setting: str, make: Callable[[], str]) -> str:
    """The secret that this home made for itself in a file of that name, as that setting has none.

    Warns where other machines may have made others. Raises as `read_or_create`.
    """
    path = settings.home / name
    secret = read_or_create(path, make)
    # What the main process says, its children need not repeat.
    if not settings.on_one_machine and multiprocessing.parent_process() is None:
        _warn(path, setting)
    return secret


@cache
def _warn(path: Path, setting: str) -> None:
    log.warning(
        "%s is a secret that only this machine knows: where services run on several, set %s to "
        "one value on all of them",
        path,
        setting,
    )


def read_or_create(path: Path, make: Callable[[], str]) -> str:
    """The secret in that file; when there is none yet, the one `make` returns is stored first.

    Safe between processes that start at once: all of them return the same secret.

    Raises:
        OSError: the file can neither be read nor created.
        ValueError: the file is empty.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        # A hard link fails when the name is taken, and never shows a half-written file.
        os.link(draft, path)
    except FileExistsError:
        return _read(path)
    finally:
        draft.unlink()
    return _read(path)


def _read(path: Path) -> str:
    secret = path.read_text().strip()
    if not secret:
        raise ValueError(f"the secret file {path} is empty: delete it, a new one is then made")
    return secret
