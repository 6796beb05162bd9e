"""Secrets that are generated once into a file that only its owner can read."""

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
    """Return the generated secret in the file `name` of the home folder, as no setting gives one.

    Logs a warning that names the setting if processes on other machines may have generated others.

    Raises:
        OSError: the file can neither be read nor created.
        ValueError: the file is empty.
    """
    path = settings.home / name
    secret = read_or_create(path, make)
    # Logged by the main process only, not by each of its children.
    if not settings.on_one_machine and multiprocessing.parent_process() is None:
        _warn(path, setting)
    return secret


@cache
def _warn(path: Path, setting: str) -> None:
    log.warning(
        "%s is known to this machine only: if services run on several, set %s to one value "
        "on all of them",
        path,
        setting,
    )


def read_or_create(path: Path, make: Callable[[], str]) -> str:
    """Return the secret in a file; without one, store the secret that `make` returns first.

    Processes that call this at the same time all return the same secret.

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
        # A hard link fails if the name exists, and never shows a half-written file.
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
