"""Azurite, Microsoft's own server of Azure Blob Storage for tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imagemill.local.ports import is_free
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
ACCOUNT = "devstoreaccount1"
# Azurite's published key, the same in every installation.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
SETTINGS = {"azure_storage_account": ACCOUNT, "azure_storage_key": KEY}


@contextmanager
def azurite(port: int, folder: Path, *options: str) -> Iterator[str]:
    """Run the server on a port until the block ends; yields the URL of its account.

    Raises:
        AssertionError: it cannot be installed or does not start; the text has its output.
    """
    script = ROOT / "deploy" / "local" / "dev_programs.py"
    done = subprocess.run([sys.executable, script, "azurite"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    program = ROOT / ".venv" / "azurite" / "node_modules" / ".bin" / "azurite-blob"
    log = folder / "azurite.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [
                program, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent",
                "--inMemoryPersistence", "--disableTelemetry",
                # Its versions of the protocol are always some months behind the library's.
                "--skipApiVersionCheck", *options,
            ],
            cwd=folder, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            wait_until(lambda: server.poll() is not None or not is_free(port))
            assert server.poll() is None, log.read_text()
            yield f"http://127.0.0.1:{port}/{ACCOUNT}"
        finally:
            server.terminate()
            server.wait()
