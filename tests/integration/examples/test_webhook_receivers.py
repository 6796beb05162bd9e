"""The example receivers verify what a notifier posts, and refuse everything else."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from standardwebhooks import Webhook as Standard

from imagemill.settings import NotifierSettings
from imagemill.webhooks.endpoints import seal_secret
from imagemill.webhooks.secrets import Signature, new_secret, public_key
from schemas import cloudevents, topics
from schemas.times import now
from schemas.webhooks import WebhookAttempt, WebhookEndpoint, WebhookTest
from tests.support.api import Topics
from tests.support.endpoints import KEY, SEALER, endpoint
from tests.support.notifier import SECRET, NotifierProcess, Results, notifier_settings
from tests.support.waiting import DEADLINE_S, wait_until

RECEIVERS = Path(__file__).parents[3] / "examples" / "webhook"
OTHER_SECRET = "whsec_YW5vdGhlciBrZXkgb2YgMjQgYnl0ZXMgb3IgbW9yZQ=="
BODY = '{"type":"job.finished","timestamp":"2026-01-01T00:00:00.000Z","data":{"job_id":"job-1"}}'


class Receiver:
    """An example receiver in a process of its own; `url` is where it listens."""

    def __init__(self, command: list[str | Path], secret: str, log: Path) -> None:
        self._log = log
        environ = {**os.environ, "WEBHOOK_SECRET": secret, "PORT": "0"}
        with log.open("w") as output:
            self.process = subprocess.Popen(command, env=environ, stdout=output, stderr=output)
        lead = "listening on port "
        first = wait_until(lambda: self.lines[:1], what=str(command))[0]
        assert first.startswith(lead), first
        self.url = f"http://127.0.0.1:{int(first.removeprefix(lead))}/hook"

    @property
    def lines(self) -> list[str]:
        """The lines that it has printed completely."""
        return self._log.read_text().split("\n")[:-1]

    def post(
        self,
        *,
        secret: str = SECRET,
        body: str = BODY,
        age: timedelta = timedelta(),
        **changes: str,
    ) -> int:
        """Post a signed body of that age; `changes` are headers. Return the status."""
        message_id = f"msg_{uuid.uuid4().hex}"
        at = datetime.now(UTC) - age
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Standard(secret).sign(message_id, at, body),
        } | {name.replace("_", "-"): value for name, value in changes.items()}
        return requests.post(self.url, data=body, headers=headers, timeout=DEADLINE_S).status_code


@pytest.fixture(scope="module", params=["python", "javascript", "go"])
def command(request: Any, tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """The command that starts a receiver; a Go program is built first, from its sources alone."""
    if request.param == "python":
        return [sys.executable, RECEIVERS / "python" / "receiver.py"]
    if request.param == "javascript":
        return ["node", RECEIVERS / "javascript" / "receiver.mjs"]
    program = tmp_path_factory.mktemp("go") / "receiver"
    environ = {**os.environ, "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    subprocess.run(
        ["go", "build", "-o", program, "."], cwd=RECEIVERS / "go", env=environ, check=True
    )
    return [program]


@contextmanager
def started(command: list[str | Path], secret: str, log: Path) -> Iterator[Receiver]:
    receiver = Receiver(command, secret, log)
    yield receiver
    receiver.process.terminate()
    receiver.process.wait(DEADLINE_S)


@pytest.fixture(scope="module")
def receiver(command, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with started(command, SECRET, tmp_path_factory.mktemp("receiver") / "log") as running:
        yield running


@pytest.fixture(scope="module")
def settings(
    broker: Any, tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> NotifierSettings:
    home = tmp_path_factory.mktemp("notifier")
    (home / "webhook.key").write_text(base64.b64encode(KEY).decode())
    return notifier_settings(
        broker.bootstrap,
        home,
        f"t{uuid.uuid4().hex[:8]}.",
        notifier_port=free_port(),
        # A new receiver's first answer may take its time on a busy machine.
        webhook_timeout_s=15.0,
    )


@pytest.fixture(scope="module")
def results(settings: NotifierSettings) -> Iterator[Results]:
    """`jobs.results` of a running notifier."""
    written = Results(settings)
    notifier = NotifierProcess(settings).start()
    yield written
    notifier.close()


@pytest.fixture(scope="module")
def kafka(settings: NotifierSettings, results: Results) -> Iterator[Topics]:
    """The notifier's topics."""
    with closing(Topics(settings)) as made:  # type: ignore[arg-type]
        yield made


def test_it_accepts_a_delivery_and_handles_it_once(receiver: Receiver, results: Results) -> None:
    job = f"job-{uuid.uuid4().hex}"
    event = results.finish(job, receiver.url)
    (attempt,) = wait_until(lambda: results.attempts(job))

    assert (attempt.status, attempt.failure) == (204, None)
    handled = f"job.finished {attempt.delivery_id} {job}"
    wait_until(lambda: handled in receiver.lines)

    # The same end again, as after a crash of the processor: the same webhook-id.
    assert results.finish(job, receiver.url).event_id == event.event_id
    wait_until(lambda: f"repeated {attempt.delivery_id}" in receiver.lines)
    assert receiver.lines.count(handled) == 1


def test_it_accepts_one_fitting_signature_among_several(receiver: Receiver) -> None:
    now, message_id = datetime.now(UTC), f"msg_{uuid.uuid4().hex}"
    both = " ".join(
        Standard(secret).sign(message_id, now, BODY) for secret in (OTHER_SECRET, SECRET)
    )
    headers = {
        "webhook_id": message_id,
        "webhook_timestamp": str(int(now.timestamp())),
        "webhook_signature": both,
    }
    assert receiver.post(**headers) == 204


def test_it_accepts_what_a_secret_in_rotation_signs(
    receiver: Receiver, results: Results, kafka: Topics
) -> None:
    made = endpoint(f"ep_{uuid.uuid4().hex}", url=receiver.url, secret=SECRET)
    newest = seal_secret(SEALER, made.endpoint_id, OTHER_SECRET, now())
    attempt = delivered(results, kafka, made.rotate(newest, now(), overlap_s=3600))
    assert attempt.status == 204, attempt.message


def test_it_verifies_signatures_of_ed25519_by_the_public_key(
    command: list[str | Path], results: Results, kafka: Topics, tmp_path: Path
) -> None:
    secret = new_secret(Signature.ED25519)
    public = public_key(secret)
    assert public is not None
    with started(command, public, tmp_path / "log") as receiver:
        made = endpoint(f"ep_{uuid.uuid4().hex}", url=receiver.url, secret=secret)
        attempt = delivered(results, kafka, made)
        assert attempt.status == 204, attempt.message
        wait_until(lambda: f"job.finished {attempt.delivery_id} {attempt.job_id}" in receiver.lines)
        assert receiver.post() == 400


def delivered(results: Results, kafka: Topics, to: WebhookEndpoint) -> WebhookAttempt:
    """End a job while this endpoint alone is there; return the attempt to post that."""
    topic, job = topics.WEBHOOKS_ENDPOINTS.name, f"job-{uuid.uuid4().hex}"
    command = WebhookTest(command_id=job, endpoint_id=to.endpoint_id, at=now())
    kafka.publish(topic, to.endpoint_id, to.model_dump_json().encode(), None)
    # Its test event shows that the notifier has read the endpoint.
    value, headers = cloudevents.encode(command)
    kafka.publish(topics.WEBHOOKS_COMMANDS.name, to.endpoint_id, value, headers)
    wait_until(lambda: [each for each in results.attempts() if each.endpoint_id == to.endpoint_id])
    results.finish(job, None)
    (attempt,) = wait_until(lambda: results.attempts(job))
    kafka.publish(topic, to.endpoint_id, None, None)
    return attempt


@pytest.mark.parametrize(
    "changes",
    [
        {"secret": OTHER_SECRET},
        {"webhook_id": "msg_of_another_post"},
        {"webhook_signature": "v1,"},
        {"webhook_signature": "v2,AAAA v1a,AAAA"},
        {"webhook_timestamp": "soon"},
        {"age": timedelta(minutes=20)},
        {"age": -timedelta(minutes=20)},
        {"body": "no JSON"},
    ],
    ids=lambda changes: " ".join(map(str, changes.values()))[:24],
)
def test_it_refuses_a_post_that_is_not_verified(receiver: Receiver, changes) -> None:
    assert receiver.post(**changes) == 400
    assert receiver.post() == 204


def test_it_does_not_start_without_a_secret(command) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "WEBHOOK_SECRET"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=DEADLINE_S)

    assert done.returncode == 1
    assert "Set WEBHOOK_SECRET" in done.stderr
