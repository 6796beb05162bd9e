"""The environment variables that settings are read from."""

from __future__ import annotations

import pytest
from pydantic import Field

from imagemill.cli.config import Setting, as_markdown, as_text
from imagemill.settings.environment import (
    EnvironmentSettings,
    SettingsInvalid,
    environment_name,
    former_names,
    named,
)


class Oven(EnvironmentSettings):
    """A class with a setting that was renamed twice, and one that was not."""

    heat_c: int = Field(
        180, le=300, validation_alias=named("OVEN_HEAT_C", "OVEN_HEAT", "OVEN_TEMPERATURE")
    )
    door: str = "closed"


@pytest.fixture(autouse=True)
def no_dotenv(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["OVEN_HEAT_C", "OVEN_HEAT", "OVEN_TEMPERATURE"])
def test_a_renamed_setting_is_read_under_each_of_its_names(name, monkeypatch):
    monkeypatch.setenv(name, "200")
    assert Oven().heat_c == 200


def test_a_former_name_is_read_from_a_dotenv_file_too(tmp_path):
    (tmp_path / ".env").write_text("OVEN_HEAT=210\n")
    assert Oven().heat_c == 210


def test_the_present_name_wins(monkeypatch):
    monkeypatch.setenv("OVEN_HEAT", "200")
    monkeypatch.setenv("OVEN_HEAT_C", "220")
    assert Oven().heat_c == 220


@pytest.mark.parametrize("name", ["OVEN_HEAT_C", "OVEN_HEAT"])
def test_a_wrong_value_is_reported_under_all_names(name, monkeypatch):
    monkeypatch.setenv(name, "400")
    with pytest.raises(SettingsInvalid, match=r"^OVEN_HEAT_C \(formerly OVEN_HEAT, .*\): input"):
        Oven()


def test_names_of_fields():
    fields = Oven.model_fields
    assert environment_name(Oven, "heat_c", fields["heat_c"]) == "OVEN_HEAT_C"
    assert former_names(fields["heat_c"]) == ("OVEN_HEAT", "OVEN_TEMPERATURE")
    assert environment_name(Oven, "door", fields["door"]) == "IMAGEMILL_DOOR"
    assert former_names(fields["door"]) == ()


def test_a_former_name_is_listed_with_the_setting():
    setting = Setting("OVEN_HEAT_C", ("oven",), "180", "180", "degrees Celsius", ("OVEN_HEAT",))
    said = "degrees Celsius; formerly OVEN_HEAT, which still works"
    assert said in as_text([setting])
    assert f"| `OVEN_HEAT_C` | `180` | | oven | {said} |" in as_markdown([setting])
