"""The command line: what it prints and what it exits with."""

from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from imagemill.cli import COMMANDS, main
from imagemill.cli.services import MODELS, SERVICES, load
from imagemill.local.broker.prerequisites import BrokerKind
from imagemill.local.errors import LocalError
from imagemill.local.stack.system import LocalSystem, PortTaken
from schemas.topics import TOPICS

ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def empty_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGEMILL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    return tmp_path / "home"


def test_without_a_command_it_lists_them(capsys):
    assert main([]) == 2
    printed = capsys.readouterr().out
    assert all(name in printed for name in COMMANDS)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "models"])
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert COMMANDS[name] in " ".join(capsys.readouterr().out.split())


def test_an_unknown_argument_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        main(["status", "--jsno"])
    assert end.value.code == 2
    assert "--jsno" in capsys.readouterr().err


def test_a_service_that_does_not_run_is_not_ready(capsys, monkeypatch, free_port):
    for service, variable in (
        ("api", "PORT"),
        ("processor", "IMAGEMILL_WORKER_PORT"),
        ("notifier", "IMAGEMILL_NOTIFIER_PORT"),
    ):
        monkeypatch.setenv(variable, str(free_port()))
        assert main(["ready", service]) == 1
        assert capsys.readouterr().err == f"imagemill: the {service} is not ready\n"


def test_status_of_a_system_that_is_down(capsys, empty_home):
    assert main(["status", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == {
        "services": [
            {"name": name, "pid": None, "state": "stopped", "restarts": 0, "port": None}
            for name in ("broker", "api", "processor", "notifier")
        ],
        "logs": str(empty_home / "logs"),
    }


def test_down_when_nothing_runs(capsys):
    assert main(["down"]) == 0
    assert "Nothing was running" in capsys.readouterr().out


def test_what_a_killed_supervisor_left_is_shown_and_taken_down(capsys, empty_home):
    run = empty_home / "run"
    run.mkdir(parents=True)
    (run / "ports.json").write_text('{"api": 8080}')
    (run / "notifier.starts").write_text("2026-01-01T00:00:00.000+00:00 4194304\n")
    with subprocess.Popen(["sleep", "60"]) as left:
        (run / "api.starts").write_text(f"2026-01-01T00:00:00.000+00:00 {left.pid}\n")
        assert main(["status", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["services"] == [
            {"name": "api", "pid": left.pid, "state": "orphaned", "restarts": 0, "port": 8080}
        ]
        assert main(["status"]) == 0
        assert "`make down` ends the rest" in capsys.readouterr().out
        assert main(["down"]) == 0
        assert capsys.readouterr().out.startswith("Stopped.")
        assert not psutil.pid_exists(left.pid)
    assert main(["down"]) == 0
    assert "Nothing was running" in capsys.readouterr().out


def test_a_home_that_cannot_be_written_is_said(capsys, monkeypatch):
    monkeypatch.setenv("IMAGEMILL_HOME", "/dev/null/home")
    assert main(["up"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("imagemill: the folder /dev/null/home/logs cannot be written: Not a dir")
    assert "IMAGEMILL_HOME=<folder> make up" in said


def test_a_full_disk_is_said(empty_home):
    resource = pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-m", "imagemill", "up"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        # Without root, a limit of the size of files is what makes a real write fail.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"imagemill: the folder {empty_home / 'logs'} cannot be written")
    assert "Traceback" not in done.stderr


def test_a_port_that_two_settings_ask_for_is_said(monkeypatch, free_port):
    port = free_port()
    monkeypatch.setenv("PORT", str(port))
    monkeypatch.setenv("IMAGEMILL_NOTIFIER_PORT", str(port))
    system = LocalSystem()
    with pytest.raises(LocalError, match=f"PORT and IMAGEMILL_NOTIFIER_PORT both .* {port}"):
        system.launch(BrokerKind.EXTERNAL)
    assert not system.supervisor.running()


def test_a_taken_port_is_said_with_a_free_one_to_choose(monkeypatch, free_port):
    port = free_port()
    monkeypatch.setenv("PORT", str(port))
    monkeypatch.setenv("IMAGEMILL_NOTIFIER_PORT", str(port + 1))
    monkeypatch.setenv("IMAGEMILL_WORKER_PORT", str(free_port()))
    with socket.create_server(("127.0.0.1", port)), pytest.raises(PortTaken) as caught:
        LocalSystem().launch(BrokerKind.EXTERNAL)
    said = str(caught.value)
    assert f"port {port} is taken by" in said and f"(pid {os.getpid()})" in said
    chosen = int(said.partition("PORT=")[2].split()[0])
    assert chosen not in (port, port + 1)


def test_topics_are_listed_under_the_prefix(capsys, monkeypatch):
    monkeypatch.setenv("IMAGEMILL_TOPIC_PREFIX", "mine.")
    assert main(["topics", "list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [f"mine.{topic.name}" for topic in TOPICS]


@pytest.mark.parametrize("dotenv", [False, True])
def test_what_keeps_it_from_running_is_a_sentence_not_a_traceback(
    dotenv, capsys, monkeypatch, tmp_path
):
    monkeypatch.delenv("KAFKA_HOME", raising=False)
    if dotenv:
        Path(".env").write_text(f"KAFKA_HOME={tmp_path}")
    else:
        monkeypatch.setenv("KAFKA_HOME", str(tmp_path))
    assert main(["up"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("imagemill: KAFKA_HOME is")
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "name", "value", "sentence"),
    [
        (["up"], "PORT", "abc", "PORT: input should be a valid integer"),
        (["down"], "IMAGEMILL_NOTIFIER_PORT", "0", "IMAGEMILL_NOTIFIER_PORT: input should be"),
        (["up"], "IMAGEMILL_URL_ALLOW", "a b", "IMAGEMILL_URL_ALLOW: 'a b' is neither"),
        (["up"], "OBJECT_STORE_URL", "ftp://x", "OBJECT_STORE_URL must be file: with a path"),
        (["up"], "IMAGEMILL_SIGNING_SECRET", "hunter2", "IMAGEMILL_SIGNING_SECRET: the signing"),
        (["config"], "IMAGEMILL_SIGNING_SECRET", "hunter2", "at least 16 characters"),
        (["up"], "OBJECT_STORE_URL", "file:/proc/x", "the object folder cannot be"),
        (["serve", "api"], "IMAGEMILL_MAX_ITEMS", "0", "IMAGEMILL_MAX_ITEMS: input should be"),
        (["serve", "processor"], "WORKER_COUNT", "x", "WORKER_COUNT: input should be"),
        (["serve", "notifier"], "KAFKA_SECURITY_PROTOCOL", "x", "KAFKA_SECURITY_PROTOCOL: input"),
    ],
)
def test_a_wrong_setting_is_named_in_a_sentence(words, name, value, sentence, capsys, monkeypatch):
    monkeypatch.setenv(name, value)
    assert main(words) == 1
    said = capsys.readouterr().err
    assert said.startswith("imagemill: ") and sentence in said
    assert "hunter2" not in said


@pytest.mark.parametrize("service", ["producer_api", "processor", "notifier"])
def test_a_service_that_is_run_as_a_module_names_it_too(service, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, f"{service}.__main__", raising=False)
    monkeypatch.setenv("IMAGEMILL_LOG_FORMAT", "xml")
    with pytest.raises(SystemExit) as end:
        runpy.run_module(service, run_name="__main__")
    assert end.value.code == 1
    assert capsys.readouterr().err.startswith("imagemill: IMAGEMILL_LOG_FORMAT: input should be")


def test_logs_before_there_are_any(capsys):
    assert main(["logs"]) == 1
    assert "make up" in capsys.readouterr().err


def test_logs_of_a_service_that_is_not_one(capsys):
    assert main(["logs", "apy"]) == 1
    assert "apy" in capsys.readouterr().err


def test_logs_shows_the_end_of_each(capfd, empty_home):
    (empty_home / "logs").mkdir(parents=True)
    (empty_home / "logs" / "api.log").write_text("".join(f"line {n}\n" for n in range(100)))
    assert main(["logs", "api", "-n", "2"]) == 0
    assert capfd.readouterr().out.splitlines()[-2:] == ["line 98", "line 99"]


def test_the_command_line_loads_no_service():
    """Each would bring its libraries: seconds before `imagemill status` answers."""
    heavy = {"faust", "onnxruntime", "producer_api", "processor", "notifier"}
    script = (
        "import sys; from imagemill.cli import main; main(['status']); "
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize("path", [*SERVICES.values(), MODELS])
def test_every_service_has_its_entry(path):
    assert callable(load(path))
