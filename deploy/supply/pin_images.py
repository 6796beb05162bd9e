"""Write the present digests of the base images' tags into Dockerfile and docker-compose.yml.

`python deploy/supply/pin_images.py` asks each image's registry, without Docker; it runs on the
standard library alone.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = ("Dockerfile", "docker-compose.yml")
PINNED = re.compile(r"(?P<name>[\w./:-]+):(?P<tag>[\w.-]+)@(?P<digest>sha256:[0-9a-f]{64})")
_TIMEOUT_S = 20
# An index of all platforms first: the digest of one platform's image would bind the others to it.
_ACCEPTED = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)


class Unresolved(Exception):
    """A registry did not name the digest of a tag; the text says why."""


def main() -> int:
    """Rewrite the files; return 1, with no file changed, if one image has no answer."""
    texts = {ROOT / name: (ROOT / name).read_text() for name in FILES}
    try:
        new = {file: pinned(text) for file, text in texts.items()}
    except Unresolved as error:
        print(f"make pin-images: {error}. Nothing was changed.", file=sys.stderr)
        return 1
    for file, text in new.items():
        if text != texts[file]:
            file.write_text(text)
            print(f"{file.name}: pinned to other digests")
    return 0


def pinned(text: str) -> str:
    """Return the text with the present digest of each pinned image.

    Raises:
        Unresolved: a registry names none.
    """
    known: dict[tuple[str, str], str] = {}

    def now(found: re.Match[str]) -> str:
        name, tag = found["name"], found["tag"]
        if (name, tag) not in known:
            known[name, tag] = digest_of(name, tag)
        return f"{name}:{tag}@{known[name, tag]}"

    return PINNED.sub(now, text)


def digest_of(name: str, tag: str) -> str:
    """Ask the registry of an image for the digest of a tag.

    Raises:
        Unresolved: it does not answer, or has no such tag.
    """
    base, repository = address_of(name)
    url = f"{base}/v2/{repository}/manifests/{tag}"
    try:
        try:
            digest = _digest(url, None)
        except urllib.error.HTTPError as error:
            if error.code != 401:
                raise
            token = _token(error.headers.get("WWW-Authenticate", ""))
            digest = _digest(url, token)
    except (OSError, ValueError) as error:
        raise Unresolved(f"{name}:{tag} is not known at {base}: {error}") from error
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise Unresolved(f"{name}:{tag}: {base} answered without a digest")
    return digest


def address_of(name: str) -> tuple[str, str]:
    """Return the registry's URL and the repository there, as Docker reads an image's name."""
    host, slash, rest = name.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        scheme = "http" if host.startswith(("localhost", "127.")) else "https"
        return f"{scheme}://{host}", rest
    return "https://registry-1.docker.io", name if slash else f"library/{name}"


def _digest(url: str, token: str | None) -> str:
    request = urllib.request.Request(url, method="HEAD", headers={"Accept": _ACCEPTED})
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        return answer.headers.get("Docker-Content-Digest", "")


def _token(challenge: str) -> str:
    """Get the token for anonymous reading that a registry's 401 asks for."""
    facts = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if not challenge.startswith("Bearer ") or "realm" not in facts:
        raise ValueError("it asks for a login")
    query = urllib.parse.urlencode({k: v for k, v in facts.items() if k in ("service", "scope")})
    with urllib.request.urlopen(f"{facts['realm']}?{query}", timeout=_TIMEOUT_S) as answer:
        body = json.load(answer)
    return str(body.get("token") or body["access_token"])


if __name__ == "__main__":
    sys.exit(main())
