"""docs/settings.md has every setting as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from imagemill.cli.config import all_settings

ROOT = Path(__file__).parents[3]


def test_the_page_is_that_of_the_settings_classes():
    script = ROOT / "docs" / "generate_settings.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


def test_every_setting_is_in_it_once():
    page = (ROOT / "docs" / "settings.md").read_text()

    assert [s.name for s in all_settings() if page.count(f"| `{s.name}` |") != 1] == []
