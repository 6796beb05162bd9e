"""Where everything of a local system lies, below one home folder.

Standard library only: deploy/local/bootstrap.py uses it before anything is installed.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from imagemill.local.errors import LocalError

# A Unix socket's path may be about 104 bytes long, and supervisord binds a longer name first.
_SOCKET_PATH_BYTES = 90


@dataclass(frozen=True)
class Layout:
    """Paths below an absolute home folder."""

    home: Path

    @classmethod
    def of(cls, home: Path) -> Layout:
        """The layout below that folder, relative ones taken from the current folder."""
        return cls(home.expanduser().absolute())

    @property
    def logs(self) -> Path:
        """One log a service."""
        return self.home / "logs"

    @property
    def run(self) -> Path:
        """What only matters while the system runs: configuration, pid file, start counts."""
        return self.home / "run"

    @property
    def kafka(self) -> Path:
        """The local broker's data, configuration and jars."""
        return self.home / "kafka"

    @property
    def jars(self) -> Path:
        """The Kafka jars that Maven fetched."""
        return self.kafka / "libs"

    @property
    def sample(self) -> Path:
        """The first photo and its cut-out."""
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
        """The socket supervisord is asked through."""
        path = self.run / "supervisor.sock"
        if len(bytes(path)) <= _SOCKET_PATH_BYTES:
            return path
        digest = hashlib.sha256(bytes(self.home)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"imagemill-{digest}.sock"

    def log(self, name: str) -> Path:
        """The log of a service."""
        return self.logs / f"{name}.log"

    def starts(self, name: str) -> Path:
        """One line for each time a supervised process was started."""
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
    """A file of the project by its path in the checkout; an installed package has copies.

    Raises:
        LocalError: the installation is incomplete.
    """
    checkout = Path(__file__).parents[2]
    for root in (checkout, Path(sys.prefix) / "share" / "imagemill"):
        if (root / name).is_file():
            return root / name
    raise LocalError(f"this installation of imagemill lacks {name}; install it again")
