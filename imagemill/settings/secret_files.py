"""Secrets from files: <NAME>_FILE names the file that has the value of <NAME>.

Container platforms mount secrets as files. A variable is readable to whoever may inspect the
container, and every child process inherits it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

SUFFIX = "_FILE"
# Keys and tokens are shorter; a named pipe or a disk would be read for ever.
_MAX_BYTES = 64 * 1024


class SecretFileInvalid(ValueError):
    """A file of a secret cannot be used; the text names its variable and never the content."""


def is_secret(info: FieldInfo) -> bool:
    """Return True if the field holds a secret."""
    return SecretStr in (info.annotation, *get_args(info.annotation))


def with_secret_files(
    variables: Mapping[str, str | None], names: Mapping[str, str]
) -> dict[str, str | None]:
    """Return the variables with the content of the files that some of them name.

    Args:
        variables: of one source, the environment or a .env file.
        names: each variable that may hold a secret, as a key of `variables`, and as it is written.

    Raises:
        SecretFileInvalid: a file cannot be read, is empty or too large, or both variables are set.
    """
    found = dict(variables)
    for key, name in names.items():
        # Keys are in lower case where the source does not tell cases apart.
        file = variables.get(key + (SUFFIX.lower() if key.islower() else SUFFIX))
        if not file:
            continue
        if variables.get(key):
            raise SecretFileInvalid(f"{name} and {name}{SUFFIX} are both set: unset one of them")
        found[key] = _content(f"{name}{SUFFIX}", Path(file))
    return found


def variables_of(info: FieldInfo, default: str) -> tuple[str, ...]:
    """Return all environment variables of a field, those of earlier versions included."""
    alias = info.validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(map(str, alias.choices))
    return (default if alias is None else str(alias),)


def _content(variable: str, file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise SecretFileInvalid(f"{variable}: {file}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SecretFileInvalid(f"{variable}: {file} is not text in UTF-8") from None
    if len(content) > _MAX_BYTES:
        raise SecretFileInvalid(f"{variable}: {file} is larger than {_MAX_BYTES // 1024} KiB")
    # Editors and `echo` end a file with a line break, which is no part of the secret.
    if not (secret := text.rstrip("\r\n")):
        raise SecretFileInvalid(f"{variable}: {file} is empty")
    return secret
