"""The generated supervisord configuration, read back by supervisord's own parser."""

from __future__ import annotations

from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from imagemill.local.errors import LocalError
from imagemill.local.layout import Layout
from imagemill.local.stack.fingerprint import fingerprint
from imagemill.local.stack.programs import Program, supervisor_config
from imagemill.local.stack.run_program import member_environment
from imagemill.settings import ApiSettings

COMMAND = ("/opt/my python/bin/python", "-c", "print('50%; \"x\"')")


def read(layout: Layout, programs: list[Program]) -> ServerOptions:
    layout.create()
    layout.supervisor_config.write_text(supervisor_config(layout, programs, Path("/")))
    options = ServerOptions()
    options.realize(["-c", str(layout.supervisor_config), "-n"])
    return options


@pytest.fixture
def layout(tmp_path) -> Layout:
    return Layout.of(tmp_path / "a home")


def test_a_command_reaches_the_process_word_for_word(layout):
    import shlex

    options = read(layout, [Program("api", COMMAND)])
    (process,) = options.process_group_configs[0].process_configs
    assert tuple(shlex.split(process.command)) == (*COMMAND, "api")


def test_what_dies_is_started_again_without_end_or_delay(layout):
    options = read(layout, [Program(name, ("x",)) for name in ("broker", "api")])
    for group in options.process_group_configs:
        for process in group.process_configs:
            assert process.autorestart.__name__ == "RestartUnconditionally"
            # With startsecs=0 no death is "too early", so none adds to a backoff.
            assert process.startsecs == 0


def test_each_stops_after_what_needs_it(layout):
    programs = [Program(name, ("x",)) for name in ("broker", "api", "processor", "notifier")]
    options = read(layout, programs)
    groups = sorted(options.process_group_configs, key=lambda group: group.priority)
    stopped = [group.name for group in reversed(groups)]
    assert stopped == ["api", "processor", "notifier", "broker"]


def test_several_processors_have_names_and_logs_of_their_own(layout):
    options = read(layout, [Program("processor", ("x",), processes=2, stop_wait_s=40)])
    processes = options.process_group_configs[0].process_configs
    assert [process.name for process in processes] == ["processor-1", "processor-2"]
    assert [process.stdout_logfile for process in processes] == [
        str(layout.logs / "processor-1.log"),
        str(layout.logs / "processor-2.log"),
    ]
    assert all(process.stopwaitsecs == 40 for process in processes)
    assert all(process.stdout_logfile_maxbytes > 0 for process in processes)


def test_a_home_that_the_configuration_cannot_hold_is_refused(tmp_path):
    with pytest.raises(LocalError, match="100%"):
        supervisor_config(Layout.of(tmp_path / "100%"), [], Path("/"))


def test_a_fingerprint_changes_with_the_code_and_with_secrets_that_it_does_not_hold(tmp_path):
    def marked(secret: str = "first-secret-of-16", environ: dict[str, str] | None = None) -> str:
        settings = ApiSettings(_env_file=None, signing_secret=secret)
        return fingerprint([settings], environ or {}, tmp_path)

    code = tmp_path / "processor" / "gate.py"
    code.parent.mkdir()
    code.write_text("old")
    first = marked()
    assert "first" not in first
    code.unlink()
    code.write_text("old")
    (code.parent / "__pycache__").mkdir()
    (code.parent / "__pycache__" / "gate.cpython-311.pyc.1234").write_bytes(b"half")
    assert marked() == first
    assert marked(environ={"EDITOR": "vi"}) == first
    others = {marked("other-secret-of-16"), marked(environ={"KAFKA_HOME": "/opt/kafka"})}
    code.write_text("new")
    others.add(marked())
    (tmp_path / "processor" / "more.toml").write_text("")
    others.add(marked())
    assert len({first} | others) == 5


def test_members_differ_in_name_and_port(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IMAGEMILL_WORKER_PORT", raising=False)
    assert member_environment("processor") == {}
    assert member_environment("api") == {}
    assert member_environment("processor-3") == {
        "IMAGEMILL_WORKER_ID": "processor-3",
        "IMAGEMILL_WORKER_PORT": "6068",
    }


def test_a_socket_path_too_long_for_the_system_is_moved():
    home = Path("/srv/imagemill")
    assert Layout.of(home).supervisor_socket.parent == home / "run"
    deep = Layout.of(home / ("d" * 100))
    assert len(bytes(deep.supervisor_socket)) < 104
    assert deep.supervisor_socket != Layout.of(home / ("e" * 100)).supervisor_socket
