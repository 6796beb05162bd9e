"""A digest of settings, code and libraries, which shows whether a running system is current.

Without it `imagemill up` would have to restart a running system each time: half a minute, and
items under way would be handed back.
"""

from __future__ import annotations

import hashlib
import json
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from imagemill.local.layout import project_file

_CHECKOUT = Path(__file__).parents[3]
_PACKAGES = ("schemas", "imagemill", "producer_api", "processor", "notifier")
_BROKER_FILES = ("deploy/local/server.properties", "deploy/local/pom.xml")
# Variables that clients of Kafka and S3 read beside the settings.
_PREFIXES = ("IMAGEMILL_", "KAFKA_", "R2_", "S3_", "AWS_")


def fingerprint(
    settings: Iterable[BaseSettings], environ: Mapping[str, str], root: Path = _CHECKOUT
) -> str:
    """Return a digest that differs if a setting, a secret, a library or a file of code does.

    The packages are below `root`. Files count by their content, not by their time.
    """
    stated = [
        {name: value for name, value in environ.items() if name.startswith(_PREFIXES)},
        *({name: _plain(value) for name, value in each} for each in settings),
        sorted(path.name for path in Path(sysconfig.get_path("purelib")).glob("*.dist-info")),
        sys.version,
    ]
    digest = hashlib.sha256(json.dumps(stated, sort_keys=True).encode())
    for file in _code(root):
        digest.update(f"{file}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _plain(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _code(root: Path) -> Iterable[Path]:
    """List every file of the packages, data files too, and of the broker's set-up."""
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if "__pycache__" not in path.parts and path.is_file():
                yield path
    yield from map(project_file, _BROKER_FILES)
