"""Run the printed examples of a document, with port and placeholders replaced."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

_BLOCK = re.compile(r"^[ ]*```(\w+)\n(.*?)^[ ]*```", re.MULTILINE | re.DOTALL)
_PORT = re.compile(r"localhost:\d+")


class Document:
    """A document's code blocks."""

    def __init__(self, text: str) -> None:
        self._blocks = [(found[1], found[2]) for found in _BLOCK.finditer(text)]

    def example(self, language: str, *words: str) -> str:
        """Return the first block of that language that contains all the words."""
        found = [
            code
            for kind, code in self._blocks
            if kind == language and all(word in code for word in words)
        ]
        assert found, f"the document has no {language} example with {words}"
        return found[0]


def on_port(code: str, port: int, **placeholders: str) -> str:
    """Replace the port and the placeholders of an example."""
    code = _PORT.sub(f"localhost:{port}", code)
    for placeholder, value in placeholders.items():
        assert placeholder in code
        code = code.replace(placeholder, value)
    return code


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shell(code: str, folder: Path) -> str:
    """Run a shell example; return its output."""
    return _run(["bash", "-e", "-c", code], folder)


def curl(code: str, folder: Path) -> Any:
    """Run a curl example; return the JSON that it prints."""
    return json.loads(shell(code, folder))


def python(code: str, folder: Path) -> str:
    """Run a Python example; return its output."""
    return _run([sys.executable, "-c", code], folder)


def javascript(code: str, folder: Path) -> str:
    """Run a JavaScript example with Node.js; return its output."""
    node = shutil.which("node")
    assert node, "node is missing: the JavaScript example cannot be run without it"
    script = folder / "example.mjs"
    script.write_text(code)
    return _run([node, str(script)], folder)
