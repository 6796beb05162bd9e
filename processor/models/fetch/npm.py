"""Find an npm package's tarball by npm's configuration, without the program npm."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from processor.models.manifest import NpmSource

DEFAULT_REGISTRY = "https://registry.npmjs.org"
_PREFIX = "npm_config_"


class RegistryInvalid(ValueError):
    """npm's configuration names a registry that is no http(s) URL."""


def tarball_url(source: NpmSource, environment: Mapping[str, str] = os.environ) -> str:
    """Return the URL of the package's tarball in the user's registry.

    Raises:
        RegistryInvalid: the registry in npm's settings is no http(s) URL.
        OSError: the user's npmrc cannot be read.
    """
    found = registry(source.package, settings(environment))
    bare = source.package.rpartition("/")[2]
    return f"{found}/{source.package}/-/{bare}-{source.version}.tgz"


def registry(package: str, npm: Mapping[str, str]) -> str:
    """Return the package's registry in npm's settings, without a trailing slash.

    Raises:
        RegistryInvalid: it is no http(s) URL.
    """
    scope, _, _ = package.rpartition("/")
    found = (scope and npm.get(f"{scope}:registry")) or npm.get("registry") or DEFAULT_REGISTRY
    if not found.startswith(("http://", "https://")):
        raise RegistryInvalid(f"npm's registry for {package} is set to {found!r}, which is no URL")
    return found.rstrip("/")


def settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return npm's settings: the user's npmrc, overridden by the environment.

    Raises:
        OSError: the npmrc cannot be read.
    """
    given = {
        key.lower().removeprefix(_PREFIX): value
        for key, value in environment.items()
        if key.lower().startswith(_PREFIX) and value
    }
    path = Path(given.get("userconfig") or Path.home() / ".npmrc")
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return parse(text, environment) | given


def parse(npmrc: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Parse an npmrc; ${NAME} is replaced if the environment has NAME."""
    lines = (line.strip() for line in npmrc.splitlines())
    pairs = (line.partition("=") for line in lines if line and line[0] not in "#;[")
    return {
        key.strip(): re.sub(
            r"\$\{(\w+)\}",
            lambda found: environment.get(found[1], found[0]),
            value.strip().strip("\"'"),
        )
        for key, _, value in pairs
    }
