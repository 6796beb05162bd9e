"""Settings from the environment, and the sentence when the value of one is wrong."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from imagemill.errors import OperatorError
from imagemill.settings.secret_files import (
    SecretFileInvalid,
    is_secret,
    variables_of,
    with_secret_files,
)

# A server that listens on all addresses of a machine is reached there, by the family of addresses.
_REACHED_AT = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


class SettingsInvalid(OperatorError, ValueError):
    """The value of a setting is wrong; the text names its variable and never the value."""


class EnvironmentSettings(BaseSettings):
    """Base of all settings: IMAGEMILL_<FIELD>, unless a field has an alias, or a line of .env.

    A secret may be in a file that <VARIABLE>_FILE names.

    Raises:
        SettingsInvalid: a value is wrong; raised by the constructor.
    """

    model_config = SettingsConfigDict(
        env_prefix="IMAGEMILL_", env_file=".env", extra="ignore", populate_by_name=True, frozen=True
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            # Not as the cause: pydantic's error prints the value, which may be a secret.
            raise SettingsInvalid(_sentence(type(self), error)) from None
        except SecretFileInvalid as error:
            raise SettingsInvalid(str(error)) from error

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read secrets from the files that the environment and .env name, each in its rank."""
        for source in (env_settings, dotenv_settings):
            assert isinstance(source, EnvSettingsSource)
            names = {
                name if source.case_sensitive else name.lower(): name
                for field, info in settings_cls.model_fields.items()
                if is_secret(info)
                for name in variables_of(info, environment_name(settings_cls, field, info))
            }
            source.env_vars = with_secret_files(source.env_vars, names)
        return init_settings, env_settings, dotenv_settings, file_secret_settings


def named(variable: str, *former: str) -> AliasChoices:
    """Read a field from this environment variable instead of IMAGEMILL_<FIELD>.

    `former` are names that the setting had in earlier versions. They keep working; where both are
    set, the present name wins.
    """
    return AliasChoices(variable, *former)


class HomeSettings(EnvironmentSettings):
    """The folder of local data."""

    home: Path = Field(
        Path(".imagemill"),
        validation_alias=named("IMAGEMILL_HOME"),
        description="folder of all local data: broker, objects, models, logs, secrets",
    )

    @property
    def on_one_machine(self) -> bool:
        """True if all processes of this system certainly share this home folder."""
        return True


class ListenSettings(EnvironmentSettings):
    """The address that services listen on."""

    host: str = Field(
        "127.0.0.1",
        description="address of the API and of the health ports; 0.0.0.0 opens them to the network",
    )

    @property
    def on_loopback(self) -> bool:
        """True if only programs of this machine reach the services."""
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            # A name may resolve to any address; that of the loopback is fixed (RFC 6761, 6.3).
            return self.host == "localhost"

    @property
    def reached_host(self) -> str:
        """The host, as in a URL, at which this machine reaches the services."""
        return url_host(self.host)


def url_host(listening: str) -> str:
    """Return the host, as in a URL, at which this machine reaches a server on that address."""
    host = _REACHED_AT.get(listening, listening)
    return f"[{host}]" if ":" in host else host


def environment_name(kind: type[BaseSettings], field: str, info: FieldInfo) -> str:
    """Return the environment variable that a field is read from."""
    alias = info.validation_alias
    if alias is None:
        return f"{kind.model_config.get('env_prefix', '')}{field}".upper()
    if isinstance(alias, AliasChoices):
        return str(alias.choices[0])
    return str(alias)


def former_names(info: FieldInfo) -> tuple[str, ...]:
    """Return the environment variables that a field was read from in earlier versions."""
    alias = info.validation_alias
    return tuple(map(str, alias.choices[1:])) if isinstance(alias, AliasChoices) else ()


def _sentence(kind: type[BaseSettings], error: ValidationError) -> str:
    said = []
    for each in error.errors(include_url=False, include_input=False):
        text = each["msg"].removeprefix("Value error, ")
        if each["loc"]:
            text = f"{_variable(kind, str(each['loc'][0]))}: {text[0].lower()}{text[1:]}"
        said.append(text)
    return "; ".join(said)


def _variable(kind: type[BaseSettings], loc: str) -> str:
    """Name the environment variable of a wrong value; pydantic calls it by field or variable."""
    for field, info in kind.model_fields.items():
        name = environment_name(kind, field, info)
        if loc in (field, name):
            former = former_names(info)
            return f"{name} (formerly {', '.join(former)})" if former else name
    return loc
