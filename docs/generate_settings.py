"""Write docs/settings.md from the settings classes, a table for each class.

`python docs/generate_settings.py` rewrites the page, `--check` returns 1 if it is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pages import write_or_check
from pydantic_settings import BaseSettings

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

# The checkout need not be installed.
from imagemill import settings  # noqa: E402
from imagemill.cli.config import all_settings, as_markdown  # noqa: E402
from imagemill.settings import access, audit, environment, oidc, server, shared  # noqa: E402
from imagemill.settings.environment import environment_name  # noqa: E402

PAGE = ROOT / "docs" / "settings.md"
_SECTIONS: tuple[tuple[str, type[BaseSettings]], ...] = (
    ("Home", environment.HomeSettings),
    ("Kafka", settings.KafkaSettings),
    ("Object store", settings.StoreSettings),
    ("URLs", settings.UrlSettings),
    ("Limits", settings.LimitSettings),
    ("Addresses", environment.ListenSettings),
    ("TLS", server.TlsSettings),
    ("Server", server.ServerSettings),
    ("Access without keys", access.OpenSettings),
    ("Access", settings.AccessSettings),
    ("OIDC", oidc.OidcSettings),
    ("Audit", audit.AuditSettings),
    ("Logs", settings.LogSettings),
    ("Webhook key", shared.WebhookKeySettings),
    ("API", settings.ApiSettings),
    ("Processor", settings.ProcessorSettings),
    ("Notifier", settings.NotifierSettings),
    ("Command line", settings.CommandSettings),
)
_HEAD = """\
# Settings

Each is an environment variable, or a line `NAME=value` of a file `.env` in the working folder; the
environment wins. `imagemill config` shows them with their current values, secrets masked. A service
with an invalid value does not start.

A secret may be in a file instead: `AWS_SECRET_ACCESS_KEY_FILE=/run/secrets/s3` reads the value of
`AWS_SECRET_ACCESS_KEY` from there, without the line break at its end. That works for each setting
below that says so. The file is read when a service starts.

"""


def main(arguments: list[str]) -> int:
    """Rewrite the page, or compare it; return the exit status."""
    return write_or_check(PAGE, render(), arguments)


def render() -> str:
    """Return the page's text."""
    known = {each.name: each for each in all_settings()}
    parts = []
    for title, kind in _SECTIONS:
        names = [
            environment_name(kind, field, info)
            for field, info in kind.model_fields.items()
            if field in kind.__annotations__
        ]
        table = as_markdown([known[name] for name in names])
        parts.append(f"## {title}\n\n{kind.__doc__}\n\n{table}\n")
    return _HEAD + "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
