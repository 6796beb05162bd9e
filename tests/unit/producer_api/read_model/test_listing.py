"""Cursors of lists."""

from __future__ import annotations

import pytest

from producer_api.read_model.errors import InvalidCursor
from producer_api.read_model.listing import Cursor


@pytest.mark.parametrize("text", ["x", "!!!!", "YWJj", "\u00e9\u00e9\u00e9\u00e9"])
def test_a_foreign_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor):
        Cursor.decode(text)
