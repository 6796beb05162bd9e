"""`imagemill config` tells the truth about the settings classes."""

from __future__ import annotations

from typing import get_args

import pytest

from imagemill.cli import main
from imagemill.cli.config import all_settings
from imagemill.settings import PROGRAMS
from imagemill.settings.environment import environment_name


@pytest.fixture(autouse=True)
def no_dotenv(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_field_of_every_service_is_listed_once():
    names = [each.name for each in all_settings()]
    assert len(names) == len(set(names))
    fields = {field for kind in PROGRAMS.values() for field in kind.model_fields}
    assert len(names) == len(fields)


def test_every_setting_says_what_it_does():
    assert [each.name for each in all_settings() if not each.description] == []


def test_every_number_has_a_range_and_every_choice_its_values():
    allowed = {each.name: each.allowed for each in all_settings()}
    assert allowed["IMAGEMILL_ITEM_TIMEOUT_S"] == "> 0"
    assert allowed["IMAGEMILL_TOPIC_PARTITIONS"] == "≥ 1, ≤ 1,024"
    assert allowed["IMAGEMILL_LOG_FORMAT"] == "text, json"
    assert allowed["IMAGEMILL_S3_PATH_STYLE"] == "true, false"
    for kind in PROGRAMS.values():
        for field, info in kind.model_fields.items():
            if {int, float} & {info.annotation, *get_args(info.annotation)}:
                assert allowed[environment_name(kind, field, info)], field


def test_a_listed_name_is_the_one_that_is_read(monkeypatch):
    for each in all_settings():
        monkeypatch.delenv(each.name, raising=False)
    monkeypatch.setenv("PORT", "9999")
    monkeypatch.setenv("IMAGEMILL_MAX_ITEMS", "7")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "kafka.example:9092")
    changed = {each.name: each.current for each in all_settings() if each.current != each.default}
    assert changed == {
        "PORT": "9999",
        "IMAGEMILL_MAX_ITEMS": "7",
        "KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092",
    }


@pytest.mark.parametrize("form", [[], ["--markdown"]])
def test_secrets_are_never_printed(form, monkeypatch, capsys):
    for each in all_settings():
        if "SECRET" in each.name or "PASSWORD" in each.name:
            monkeypatch.setenv(each.name, "hunter2 hunter2 hunter2")
    assert main(["config", *form]) == 0
    printed = capsys.readouterr().out
    assert "hunter2" not in printed
    assert "AWS_SECRET_ACCESS_KEY" in printed


def test_the_table_for_the_documentation_does_not_depend_on_this_machine(monkeypatch, capsys):
    main(["config", "--markdown"])
    before = capsys.readouterr().out
    monkeypatch.setenv("PORT", "9999")
    main(["config", "--markdown"])
    assert capsys.readouterr().out == before
    assert "| `PORT` | `8080` | ≥ 0, ≤ 65,535 | api, processor |" in before


@pytest.mark.parametrize("kind", ["CA", "CERTIFICATE", "KEY"])
def test_a_certificate_that_is_not_there_is_said(kind, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv(f"KAFKA_SSL_{kind}_LOCATION", str(tmp_path / "gone.pem"))
    assert main(["config"]) == 1
    said = f"imagemill: KAFKA_SSL_{kind}_LOCATION: path does not point to a file\n"
    assert capsys.readouterr().err == said


def test_a_certificate_that_cannot_be_read_is_said(monkeypatch, tmp_path, capsys):
    (tmp_path / "ca.pem").write_text("no certificate")
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv("KAFKA_SSL_CA_LOCATION", str(tmp_path / "ca.pem"))
    assert main(["topics", "check"]) == 1
    assert "the settings of Kafka do not work: " in capsys.readouterr().err
