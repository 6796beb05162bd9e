"""Files of the read model, as they are while they are filled and once they are complete."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.readmodel import FedFile


@pytest.fixture
def incomplete(tmp_path: Path) -> Iterator[FedFile]:
    """A file whose topics were not read to their ends yet."""
    made = FedFile(tmp_path / "projection.db")
    yield made
    made.close()


@pytest.fixture
def file(incomplete: FedFile) -> FedFile:
    """A complete file, kept as messages come."""
    incomplete.writer.complete()
    return incomplete
