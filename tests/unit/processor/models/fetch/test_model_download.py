"""Downloads go on where they stopped, and give up with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from processor.models.fetch.download import DownloadError, Patience, download
from tests.unit.processor.models.fetch.model_server import serving

CONTENT = bytes(range(256)) * 4000
QUICK = Patience(attempts=3, first_wait_s=0.001, longest_wait_s=0.001, timeout_s=5)


def fetched(url: str, part: Path, patience: Patience = QUICK) -> bytes:
    download(url, part, lambda done, total: None, patience)
    return part.read_bytes()


def test_a_whole_file_arrives_and_progress_ends_at_its_size(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    with serving(CONTENT) as server:
        download(server.url, tmp_path / "part", lambda *step: seen.append(step), QUICK)
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_dropped_connection_is_resumed_from_its_last_byte(tmp_path: Path) -> None:
    with serving(CONTENT) as server:
        server.drops = [1000, 70_000]
        assert fetched(server.url, tmp_path / "part") == CONTENT
        assert server.requests == [None, "bytes=1000-", "bytes=71000-"]


def test_a_later_run_goes_on_with_what_an_earlier_one_left(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(CONTENT[:5000])
    with serving(CONTENT) as server:
        assert fetched(server.url, part) == CONTENT
        assert server.requests == ["bytes=5000-"]


def test_a_server_without_ranges_starts_over_instead_of_doubling(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(CONTENT[:5000])
    with serving(CONTENT) as server:
        server.ranges = False
        assert fetched(server.url, part) == CONTENT


def test_a_complete_part_needs_no_more_bytes(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(CONTENT)
    with serving(CONTENT) as server:
        assert fetched(server.url, part) == CONTENT


def test_a_part_longer_than_the_file_is_thrown_away(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(CONTENT + b"more")
    with serving(CONTENT) as server:
        assert fetched(server.url, part) == CONTENT
        assert server.requests[-1] is None


def test_overload_is_waited_out(tmp_path: Path) -> None:
    with serving(CONTENT) as server:
        server.statuses = [503, 429]
        assert fetched(server.url, tmp_path / "part") == CONTENT


def test_not_found_is_final_and_names_the_url(tmp_path: Path) -> None:
    with serving(CONTENT) as server:
        server.statuses = [404] * 5
        with pytest.raises(DownloadError, match=rf"{server.url}: HTTP 404"):
            fetched(server.url, tmp_path / "part")
        assert len(server.requests) == 1


def test_it_gives_up_after_tries_that_bring_nothing(tmp_path: Path) -> None:
    with serving(CONTENT) as server:
        server.drops = [100, 0, 0, 0, 0]
        with pytest.raises(DownloadError, match="ended early"):
            fetched(server.url, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT[:100]


def test_progress_starts_the_count_of_tries_anew(tmp_path: Path) -> None:
    with serving(CONTENT) as server:
        server.drops = [10] * 10
        assert fetched(server.url, tmp_path / "part") == CONTENT


def test_a_server_that_resumes_at_another_byte_is_refused(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(CONTENT[:5000])
    with serving(CONTENT) as server:
        server.shift = 7
        with pytest.raises(DownloadError, match="another byte"):
            fetched(server.url, part)
    assert part.read_bytes() == CONTENT[:5000]


def test_no_server_at_all_says_so(tmp_path: Path) -> None:
    with serving(CONTENT) as server:
        url = server.url
    with pytest.raises(DownloadError, match="refused"):
        fetched(url, tmp_path / "part")


def test_waits_double_up_to_the_longest() -> None:
    patience = Patience(first_wait_s=1, longest_wait_s=5)
    assert [patience.wait_s(n) for n in (1, 2, 3, 4, 9)] == [1, 2, 4, 5, 5]
