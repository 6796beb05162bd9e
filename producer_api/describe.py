"""Writes the OpenAPI document: `python -m producer_api.describe docs/openapi.json`."""

from __future__ import annotations

import sys
from pathlib import Path

import orjson

from producer_api.app import ROUTES
from producer_api.http.openapi import openapi_document


def document() -> bytes:
    """Return the OpenAPI document of all routes, as docs/openapi.json has it."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(openapi_document(ROUTES), option=options)


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(document())
