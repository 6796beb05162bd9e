"""Secrets on the topic: only the key opens them, and only where they were put."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from imagemill.settings.environment import SettingsInvalid
from imagemill.settings.shared import WebhookKeySettings
from imagemill.webhooks.sealing import CannotOpen, Sealer, open_sealer

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD, NEW = bytes(range(32)), bytes(range(32, 64))


def test_a_sealed_secret_shows_nothing_of_it_and_differs_each_time():
    sealer = Sealer([OLD])
    sealed = [sealer.seal(SECRET, "ep_1", "secret") for _ in range(2)]
    assert sealed[0] != sealed[1]
    assert all(SECRET[6:16] not in each and "MfKQ" not in each for each in sealed)
    assert [sealer.open(each, "ep_1", "secret") for each in sealed] == [SECRET, SECRET]


@pytest.mark.parametrize(("endpoint", "name"), [("ep_2", "secret"), ("ep_1", "header")])
def test_a_copy_does_not_open_in_another_place(endpoint: str, name: str):
    sealed = Sealer([OLD]).seal(SECRET, "ep_1", "secret")
    with pytest.raises(CannotOpen, match="damaged"):
        Sealer([OLD]).open(sealed, endpoint, name)


def test_a_replaced_key_still_opens_what_it_sealed():
    sealed = Sealer([OLD]).seal(SECRET, "ep_1", "secret")
    both = Sealer([NEW, OLD])
    assert both.open(sealed, "ep_1", "secret") == SECRET
    assert Sealer([NEW]).open(both.seal(SECRET, "ep_1", "secret"), "ep_1", "secret") == SECRET


def test_another_deployments_key_is_named_in_the_error():
    sealed = Sealer([OLD]).seal(SECRET, "ep_1", "secret")
    with pytest.raises(CannotOpen, match="IMAGEMILL_WEBHOOK_ENCRYPTION_KEY"):
        Sealer([NEW]).open(sealed, "ep_1", "secret")


@pytest.mark.parametrize("change", ["", "x", "a2.", "AAAA"])
def test_a_damaged_value_is_refused(change: str):
    sealed = Sealer([OLD]).seal(SECRET, "ep_1", "secret")
    damaged = change + sealed[:-8] if change else sealed[:-8]
    with pytest.raises(CannotOpen):
        Sealer([OLD]).open(damaged, "ep_1", "secret")


def test_processes_of_one_home_share_a_generated_key(tmp_path: Path):
    settings = WebhookKeySettings(home=tmp_path)
    sealed = open_sealer(settings).seal(SECRET, "ep_1", "secret")
    assert open_sealer(settings).open(sealed, "ep_1", "secret") == SECRET
    assert (tmp_path / "webhook.key").stat().st_mode & 0o077 == 0


def test_keys_of_the_setting_are_used(tmp_path: Path):
    keys = [base64.b64encode(key).decode() for key in (NEW, OLD)]
    settings = WebhookKeySettings(home=tmp_path, webhook_encryption_key=", ".join(keys))
    sealed = Sealer([OLD]).seal(SECRET, "ep_1", "secret")
    assert open_sealer(settings).open(sealed, "ep_1", "secret") == SECRET
    assert not (tmp_path / "webhook.key").exists()


@pytest.mark.parametrize("key", ["short", "A" * 20, "A" * 43 + "=,", "é"])
def test_a_wrong_key_is_a_wrong_setting(tmp_path: Path, key: str):
    with pytest.raises(SettingsInvalid, match="32 bytes"):
        open_sealer(WebhookKeySettings(home=tmp_path, webhook_encryption_key=key))
