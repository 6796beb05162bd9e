"""The signing secret: given, or made once."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from imagemill.settings import NotifierSettings
from notifier.posts.secret import webhook_secret


def settings(home: Path, secret: str | None = None, **fields: str) -> NotifierSettings:
    return NotifierSettings(_env_file=None, home=home, webhook_secret=secret, **fields)


def test_it_is_made_once_and_kept(tmp_path: Path) -> None:
    secret = webhook_secret(settings(tmp_path))
    assert webhook_secret(settings(tmp_path)) == secret
    assert (tmp_path / "webhook.secret").read_text() == secret
    assert Webhook(secret)


def test_a_given_one_is_taken(tmp_path: Path) -> None:
    given = "whsec_" + base64.b64encode(b"k" * 24).decode()
    assert webhook_secret(settings(tmp_path, given)) == given
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("servers", "secret", "warned"),
    [
        ("127.0.0.1:9092", None, False),
        ("localhost:9092,[::1]:9093", None, False),
        ("kafka.example.org:9092,localhost:9092", None, True),
        ("kafka.example.org:9092", "whsec_" + base64.b64encode(b"k" * 24).decode(), False),
    ],
)
def test_one_of_this_machine_alone_is_warned_of_on_a_cluster(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, servers: str, secret: str | None, warned: bool
) -> None:
    webhook_secret(settings(tmp_path, secret, kafka_bootstrap_servers=servers))
    assert ("set IMAGEMILL_WEBHOOK_SECRET to one value" in caplog.text) == warned


@pytest.mark.parametrize(
    "secret",
    [
        "correct horse battery staple",
        "whsec_short",
        "whsec_" + base64.b64encode(b"k" * 23).decode(),
        base64.b64encode(b"k" * 32).decode(),
    ],
)
def test_a_malformed_one_is_told(tmp_path: Path, secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_ followed by the base64"):
        webhook_secret(settings(tmp_path, secret))
