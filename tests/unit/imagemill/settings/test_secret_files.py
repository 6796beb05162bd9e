"""Every secret can come from a file that <NAME>_FILE names."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from imagemill.cli.config import all_settings
from imagemill.settings import PROGRAMS
from imagemill.settings.environment import (
    EnvironmentSettings,
    SettingsInvalid,
    environment_name,
    former_names,
    named,
)
from imagemill.settings.secret_files import is_secret

VALUE = "correct horse battery staple"
SECRETS = {
    environment_name(kind, field, info): (kind, field)
    for kind in PROGRAMS.values()
    for field, info in kind.model_fields.items()
    if is_secret(info)
}


class Safe(EnvironmentSettings):
    """A secret that was renamed, one that must be set, and a setting that is no secret."""

    code: SecretStr | None = Field(None, validation_alias=named("SAFE_CODE", "SAFE_NUMBER"))
    colour: str = "grey"


@pytest.fixture(autouse=True)
def no_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{VALUE}\n")
    return path


def code() -> str | None:
    secret = Safe().code
    return secret and secret.get_secret_value()


def test_there_are_secrets_of_kafka_the_store_and_webhooks() -> None:
    assert SECRETS.keys() >= {
        "KAFKA_SASL_PASSWORD",
        "KAFKA_OAUTH_CLIENT_SECRET",
        "AWS_SECRET_ACCESS_KEY",
        "IMAGEMILL_SIGNING_SECRET",
        "IMAGEMILL_WEBHOOK_SECRET",
    }


@pytest.mark.parametrize("name", SECRETS)
def test_each_secret_of_each_service_is_read_from_its_file(
    name: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, field = SECRETS[name]
    monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(f"{name}_FILE", str(file))
    assert getattr(kind(), field).get_secret_value() == VALUE


def test_each_setting_that_holds_a_secret_is_marked_as_one() -> None:
    """A field of type str would be printed by `imagemill config`, and read from no file."""
    suspects = ("password", "secret", "token", "private_key", "access_key", "signing_key")
    plain = {
        field
        for kind in PROGRAMS.values()
        for field, info in kind.model_fields.items()
        if field.endswith(suspects) and not is_secret(info)
    }
    assert plain == set()


def test_a_secret_is_listed_with_the_name_of_its_file() -> None:
    texts = {each.name: each for each in all_settings()}
    assert {name for name, each in texts.items() if each.secret} == set(SECRETS)


def test_a_file_that_a_former_name_names_is_read(file: Path, monkeypatch) -> None:
    assert former_names(Safe.model_fields["code"]) == ("SAFE_NUMBER",)
    monkeypatch.setenv("SAFE_NUMBER_FILE", str(file))
    assert code() == VALUE


def test_dotenv_may_name_the_file(file: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"SAFE_CODE_FILE={file}\n")
    assert code() == VALUE


def test_the_environment_wins_over_a_file_that_dotenv_names(
    file: Path, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / ".env").write_text(f"SAFE_CODE_FILE={file}\n")
    monkeypatch.setenv("SAFE_CODE", "of the environment")
    assert code() == "of the environment"


def test_a_file_that_the_environment_names_wins_over_dotenv(
    file: Path, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / ".env").write_text("SAFE_CODE=of dotenv\n")
    monkeypatch.setenv("SAFE_CODE_FILE", str(file))
    assert code() == VALUE


def test_only_line_breaks_at_the_end_are_removed(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_bytes(b" a b \r\n")
    monkeypatch.setenv("SAFE_CODE_FILE", "file")
    assert code() == " a b "


def test_an_empty_variable_names_no_file(file: Path, monkeypatch) -> None:
    monkeypatch.setenv("SAFE_CODE_FILE", "")
    assert code() is None
    monkeypatch.setenv("SAFE_CODE_FILE", str(file))
    monkeypatch.setenv("SAFE_CODE", "")
    assert code() == VALUE


def test_what_is_no_secret_is_not_read_from_a_file(file: Path, monkeypatch) -> None:
    monkeypatch.setenv("IMAGEMILL_COLOUR_FILE", str(file))
    assert Safe().colour == "grey"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "No such file or directory"),
        (b"\n", "is empty"),
        (b"\xff\xfe", "is not text in UTF-8"),
        (b"x" * 65_537, "is larger than 64 KiB"),
    ],
    ids=["missing", "empty", "binary", "large"],
)
def test_a_file_that_is_not_usable_is_a_sentence_that_names_its_variable(
    content: bytes | None, sentence: str, tmp_path: Path, monkeypatch
) -> None:
    if content is not None:
        (tmp_path / "broken").write_bytes(content)
    monkeypatch.setenv("SAFE_CODE_FILE", "broken")
    with pytest.raises(SettingsInvalid, match=rf"^SAFE_CODE_FILE: broken:? {sentence}$"):
        Safe()


def test_two_values_of_one_secret_are_refused(file: Path, monkeypatch) -> None:
    monkeypatch.setenv("SAFE_CODE", "another")
    monkeypatch.setenv("SAFE_CODE_FILE", str(file))
    with pytest.raises(SettingsInvalid) as caught:
        Safe()
    assert str(caught.value) == "SAFE_CODE and SAFE_CODE_FILE are both set: unset one of them"
