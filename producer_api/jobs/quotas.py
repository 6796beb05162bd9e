"""Daily quotas of images and megapixels, counted for each owner from midnight UTC on.

The read model counts what is in the topics, so that all APIs agree and a restart forgets nothing;
only what this process has published and not yet read is counted here. Several APIs together may
pass a quota by what they publish within the milliseconds that the others need to read it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from producer_api.access.caller import Caller
from producer_api.http.problems import Problem
from producer_api.http.rate_limits import LimitState, over_limit
from producer_api.read_model.errors import ReadModelBehind
from producer_api.read_model.read_model import ReadModel
from schemas.jobs import ItemInput
from schemas.times import DAY_S, from_epoch

_PIXELS_PER_MEGAPIXEL = 1_000_000
# Submissions that the feed has not read, above which the oldest ones are no longer counted.
_MAX_UNREAD = 10_000


class _Unread(NamedTuple):
    """The images of a job that the feed has not read yet."""

    owner: str
    day: str
    images: int
    pixels: int


class _Used(NamedTuple):
    """The images that an owner has submitted today, in both units of quotas."""

    images: int
    megapixels: float


class DailyQuotas:
    """Counts the images of callers that have a quota; a caller without one costs nothing here."""

    def __init__(self, read_model: ReadModel) -> None:
        self._read_model = read_model
        self._unread: dict[str, _Unread] = {}
        """By job id, oldest first."""
        read_model.on_change(self._count_in_read_model)

    def states(self, caller: Caller) -> tuple[LimitState, ...]:
        """Return what is left of the caller's quotas today; nothing for a caller without any."""
        if caller.owner is None or not _has_quota(caller):
            return ()
        now_s = time.time()
        return _states(caller, self._used(caller.owner, _day(now_s)), now_s)

    def check_left(self, caller: Caller) -> None:
        """Check that something is left today; to call before a body is read.

        Raises:
            Problem: 429 if nothing is left.
            ReadModelBehind: as `reserve`.
        """
        if caller.owner is None or not _has_quota(caller):
            return
        self._check_read()
        now_s = time.time()
        used = self._used(caller.owner, _day(now_s))
        left = _left(caller, used)
        for state in _states(caller, used, now_s):
            if not left[state.policy]:
                raise _exceeded(state, None)

    @contextmanager
    def reserve(self, caller: Caller, job_id: str, inputs: Sequence[ItemInput]) -> Iterator[None]:
        """Count the images of a job that the block publishes; not if the block fails.

        Each input is an image. Pixels are those of uploaded images: those of a URL are not known
        before a worker has fetched it.

        Raises:
            Problem: 429 when the job has more images or megapixels than are left today.
            ReadModelBehind: the topics of before this process's start are not read yet.
        """
        if caller.owner is None or not _has_quota(caller):
            yield
            return
        self._check_read()
        now_s = time.time()
        pixels = sum(given.pixels or 0 for given in inputs)
        used = self._used(caller.owner, _day(now_s))
        needed = {_IMAGES: len(inputs), _MEGAPIXELS: pixels / _PIXELS_PER_MEGAPIXEL}
        for state in _states(caller, used, now_s):
            if needed[state.policy] > _left(caller, used)[state.policy]:
                raise _exceeded(state, needed[state.policy])
        self._unread[job_id] = _Unread(caller.owner, _day(now_s), len(inputs), pixels)
        if len(self._unread) > _MAX_UNREAD:
            del self._unread[next(iter(self._unread))]
        try:
            yield
        except BaseException:
            self.release(job_id)
            raise

    def release(self, job_id: str) -> None:
        """Count the images of that job no longer: it was not published."""
        self._unread.pop(job_id, None)

    def _check_read(self) -> None:
        """Raise ReadModelBehind while today's jobs are not all counted."""
        if not self._read_model.ready:
            raise ReadModelBehind

    def _used(self, owner: str, day: str) -> _Used:
        unread = {
            job_id: sent
            for job_id, sent in self._unread.items()
            if (sent.owner, sent.day) == (owner, day)
        }
        # The feed may have written some of them and not yet passed that on to the loop.
        images, pixels, counted_ids = self._read_model.queries.usage(owner, day, unread)
        for job_id in unread.keys() - counted_ids:
            images, pixels = images + unread[job_id].images, pixels + unread[job_id].pixels
        return _Used(images, pixels / _PIXELS_PER_MEGAPIXEL)

    def _count_in_read_model(self, changed_ids: Iterable[str]) -> None:
        """Drop the jobs that the read model counts from now on."""
        if self._unread:
            for job_id in changed_ids:
                self._unread.pop(job_id, None)


_IMAGES = "images-per-day"
_MEGAPIXELS = "megapixels-per-day"
_UNITS = {_IMAGES: "images", _MEGAPIXELS: "megapixels"}


def _has_quota(caller: Caller) -> bool:
    return caller.images_per_day is not None or caller.megapixels_per_day is not None


def _limits(caller: Caller) -> dict[str, float]:
    """Return the caller's quotas by policy."""
    limits = {_IMAGES: caller.images_per_day, _MEGAPIXELS: caller.megapixels_per_day}
    return {policy: limit for policy, limit in limits.items() if limit is not None}


def _left(caller: Caller, used: _Used) -> dict[str, float]:
    """Return what is left of each quota, 0 or more."""
    spent = {_IMAGES: used.images, _MEGAPIXELS: used.megapixels}
    return {policy: max(0, limit - spent[policy]) for policy, limit in _limits(caller).items()}


def _states(caller: Caller, used: _Used, now_s: float) -> tuple[LimitState, ...]:
    reset_s = math.ceil(DAY_S - now_s % DAY_S)
    limits = _limits(caller)
    return tuple(
        LimitState(policy, math.ceil(limits[policy]), int(left), reset_s, DAY_S, _UNITS[policy])
        for policy, left in _left(caller, used).items()
    )


def _day(now_s: float) -> str:
    return from_epoch(now_s)[: len("2026-01-31")]


def _exceeded(state: LimitState, needed: float | None) -> Problem:
    """Make the 429 of a quota; `needed` is what the job has, None before that is known."""
    unit = _UNITS[state.policy]
    job = "" if needed is None else f" This job has {needed:.4g}."
    return over_limit(
        "quota_exceeded",
        f"This key may submit {state.quota} {unit} a day, and {state.remaining} are left today."
        f"{job} Nothing was queued. Send fewer, or try again after midnight UTC.",
        state,
    )
