"""A sample photo, sent through the running system as a client would send it."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from imagemill.local.errors import LocalError
from imagemill.local.layout import project_file
from imagemill.local.stack.ready import any_certificate

# Seconds that the request waits for the job to end.
_WAIT_S = 60


class KeyNeeded(LocalError):
    """The API asks for a key, and none was given to send the sample with."""


@dataclass(frozen=True)
class Sample:
    """The photo, its cut-out, and the seconds in between."""

    photo: Path
    cutout: Path
    seconds: float


def send_sample(url: str, folder: Path, key: str | None = None) -> Sample:
    """Remove the background of the sample photo and save the cut-out; `key` is an API key.

    Raises:
        KeyNeeded: the API asks for a key, and `key` is None.
        LocalError: the job did not succeed; the text has the reason.
    """
    folder.mkdir(parents=True, exist_ok=True)
    photo = folder / "photo.jpg"
    shutil.copyfile(project_file("assets/sample.jpg"), photo)
    started = time.monotonic()
    job = json.loads(_request(_submission(url, photo), key))
    if job["status"] != "succeeded":
        reason = (job.get("error") or {}).get("message") or f"it did not end within {_WAIT_S} s"
        raise LocalError(f"the sample photo was {job['status']}: {reason} (job {job['id']})")
    cutout = folder / "cutout.png"
    cutout.write_bytes(
        _request(urllib.request.Request(f"{url}/v1/jobs/{job['id']}/items/0/result"), key)
    )
    return Sample(photo, cutout, time.monotonic() - started)


def _submission(url: str, photo: Path) -> urllib.request.Request:
    boundary = uuid.uuid4().hex
    lines = [
        f"--{boundary}",
        'Content-Disposition: form-data; name="operation"',
        "",
        "remove-background",
        f"--{boundary}",
        f'Content-Disposition: form-data; name="image"; filename="{photo.name}"',
        "Content-Type: image/jpeg",
        "",
        "",
    ]
    body = "\r\n".join(lines).encode() + photo.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    headers = {
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Prefer": f"wait={_WAIT_S}",
    }
    return urllib.request.Request(f"{url}/v1/jobs", data=body, headers=headers)


def _request(request: urllib.request.Request, key: str | None) -> bytes:
    if key is not None:
        # Not for the store that a result may redirect to: S3 refuses a second authorization.
        request.add_unredirected_header("Authorization", f"Bearer {key}")
    # Not through a proxy of the environment: this is our own API on this machine.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=any_certificate())
    )
    try:
        with opener.open(request, timeout=_WAIT_S + 30) as response:
            return response.read()
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.UNAUTHORIZED and key is None:
            raise KeyNeeded("the API asks for a key") from error
        answer = error.read().decode(errors="replace")
        raise LocalError(
            f"{request.method or request.get_method()} {request.full_url} was answered "
            f"{error.code}: {answer}"
        ) from error
    except OSError as error:
        raise LocalError(f"the API did not answer the sample photo: {error}") from error
