"""Write docs/openapi.json from the routes of the API.

`python docs/generate_openapi.py` rewrites the file, `--check` returns 1 if it is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

import orjson
from pages import write_or_check

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

# The checkout need not be installed.
from producer_api.access.scopes import SCOPES  # noqa: E402
from producer_api.app import ROUTES  # noqa: E402
from producer_api.http.openapi import openapi_document  # noqa: E402

PAGE = ROOT / "docs" / "openapi.json"


def main(arguments: list[str]) -> int:
    """Rewrite the file, or compare it; return the exit status."""
    return write_or_check(PAGE, render(), arguments)


def render() -> str:
    """Return the text of the document of all routes."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(openapi_document(ROUTES, SCOPES), option=options).decode()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
