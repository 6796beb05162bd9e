"""The parts of a worker, put together without a broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagemill.settings import ProcessorSettings
from processor.worker import Processor


@pytest.fixture
async def worker(tmp_path: Path) -> Processor:
    return Processor(ProcessorSettings(_env_file=None, home=tmp_path))  # type: ignore[call-arg]


async def test_every_topic_that_holds_work_or_facts_has_an_agent(worker: Processor) -> None:
    topics = {name: agent.channel.topics for name, agent in worker.agents.items()}
    assert topics == {
        "infer_high": ("imagemill.jobs.high",),
        "infer_normal": ("imagemill.jobs.normal",),
        "infer_low": ("imagemill.jobs.low",),
        "retry": ("imagemill.jobs.retry",),
        "control": ("imagemill.jobs.control",),
        "track": ("imagemill.jobs.events",),
    }


async def test_a_worker_that_has_no_partitions_yet_is_not_ready(worker: Processor) -> None:
    report = worker.status.report()
    assert (report["ready"], report["busy"], report["waiting"]) == (False, 0, 0)


@pytest.mark.parametrize("leaves", [True, False])
async def test_a_rolling_restart_is_a_setting_of_the_worker(tmp_path: Path, leaves: bool) -> None:
    settings = ProcessorSettings(
        _env_file=None,  # type: ignore[call-arg]
        home=tmp_path,
        leave_on_stop=leaves,
    )
    assert Processor(settings).transport.leave_on_stop is leaves


async def test_the_former_name_of_the_prefetch_still_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGEMILL_LANE_SIZE", "7")
    assert ProcessorSettings().prefetch_per_partition == 7
    monkeypatch.setenv("IMAGEMILL_PREFETCH_PER_PARTITION", "9")
    assert ProcessorSettings().prefetch_per_partition == 9
