"""The files and folders of a local system, below one home folder.

Standard library only: deploy/local/bootstrap.py uses it before anything is installed.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from imagemill.local.errors import LocalError

# Bytes of a Unix socket's path. macOS allows 103, Linux 107, and supervisord binds a name of some
# ten bytes more at first.
_MAX_SOCKET_PATH_BYTES = 90


@dataclass(frozen=True)
class Layout:
    """The paths below an absolute home folder."""

    home: Path

    @classmethod
    def of(cls, home: Path) -> Layout:
        """Return the layout below a folder; a relative one is taken from the current folder."""
        return cls(home.expanduser().absolute())

    @property
    def logs(self) -> Path:
        """The logs, one for each process."""
        return self.home / "logs"

    @property
    def run(self) -> Path:
        """Files of the running system: configuration, pid file, socket, records of starts."""
        return self.home / "run"

    @property
    def kafka(self) -> Path:
        """The local broker's data, configuration and jars."""
        return self.home / "kafka"

    @property
    def jars(self) -> Path:
        """The Kafka jars that Maven fetches."""
        return self.kafka / "libs"

    @property
    def sample(self) -> Path:
        """The sample photo and its cut-out."""
        return self.home / "sample"

    @property
    def supervisor_config(self) -> Path:
        """The generated supervisord configuration."""
        return self.run / "supervisord.conf"

    @property
    def supervisor_pid(self) -> Path:
        """supervisord's pid file."""
        return self.run / "supervisord.pid"

    @property
    def supervisor_socket(self) -> Path:
        """The Unix socket of supervisord; in /tmp if the home folder's path is too long for one."""
        path = self.run / "supervisor.sock"
        if len(bytes(path)) <= _MAX_SOCKET_PATH_BYTES:
            return path
        digest = hashlib.sha256(bytes(self.home)).hexdigest()[:16]
        # Not in TMPDIR: that may differ between the shells of `up`, `status` and `down`.
        return Path("/tmp") / f"imagemill-{digest}.sock"

    def log(self, name: str) -> Path:
        """The log of a process."""
        return self.logs / f"{name}.log"

    def starts(self, name: str) -> Path:
        """The record of a process's starts, a line for each."""
        return self.run / f"{name}.starts"

    def create(self) -> None:
        """Create the folders that processes write to.

        Raises:
            LocalError: one of them cannot be created or written.
        """
        for folder in (self.logs, self.run, self.kafka):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                # An existing folder may be another user's, or on a disk that is full or read-only.
                with tempfile.TemporaryFile(dir=folder) as probe:
                    probe.write(b"x")
            except OSError as error:
                raise LocalError(
                    f"the folder {folder} cannot be written: {error.strerror}. Choose another home "
                    "folder: IMAGEMILL_HOME=<folder> make up"
                ) from error


def project_file(name: str) -> Path:
    """Return a file of the project by its path in the checkout; an installation has copies.

    Raises:
        LocalError: the installation is incomplete.
    """
    checkout = Path(__file__).parents[2]
    for root in (checkout, Path(sys.prefix) / "share" / "imagemill"):
        if (root / name).is_file():
            return root / name
    raise LocalError(f"this installation of imagemill lacks {name}; install it again")
