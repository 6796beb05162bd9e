"""Tokens of the operation `hold`: each lets one item end, so that a test sets the pace."""

from __future__ import annotations

from pathlib import Path


class Tokens:
    """A folder of tokens; `params` are the params of a job of `hold` that waits for them."""

    def __init__(self, folder: Path, *, opened: bool = False) -> None:
        folder.mkdir()
        self.folder = folder
        self._given = 0
        if opened:
            self.open()

    @property
    def params(self) -> dict[str, str]:
        """Params of the operation `hold`."""
        return {"folder": str(self.folder)}

    @property
    def left(self) -> int:
        """The number of tokens that no item has taken."""
        return len(list(self.folder.glob("token-*")))

    def give(self) -> None:
        """Let one item end."""
        self._given += 1
        (self.folder / f"token-{self._given}").touch()

    def open(self) -> None:
        """Let all items end from now on."""
        (self.folder / "open").touch()
