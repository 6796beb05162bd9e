"""docs/settings.md has every setting."""

from __future__ import annotations

from pathlib import Path

from imagemill.cli.config import all_settings

ROOT = Path(__file__).parents[3]


def test_every_setting_is_in_it_once():
    page = (ROOT / "docs" / "settings.md").read_text()

    assert [s.name for s in all_settings() if page.count(f"| `{s.name}` |") != 1] == []
