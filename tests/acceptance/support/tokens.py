"""Tokens that let items of the operation `hold` pass, one each, so that a test sets the pace."""

from __future__ import annotations

from pathlib import Path


class Tokens:
    """A folder of tokens; `params` are what a job of `hold` needs to wait for them."""

    def __init__(self, folder: Path, *, opened: bool = False) -> None:
        folder.mkdir()
        self.folder = folder
        self._given = 0
        if opened:
            self.open()

    @property
    def params(self) -> dict[str, str]:
        """Params of the operation."""
        return {"folder": str(self.folder)}

    @property
    def left(self) -> int:
        """Tokens that no item has taken."""
        return len(list(self.folder.glob("token-*")))

    def give(self) -> None:
        """Let one item pass."""
        self._given += 1
        (self.folder / f"token-{self._given}").touch()

    def open(self) -> None:
        """Let all pass from now on."""
        (self.folder / "open").touch()
