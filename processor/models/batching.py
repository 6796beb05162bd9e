"""Where items that run side by side meet at a model, so that it is asked once for all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

_here: ContextVar[BatchBarrier | None] = ContextVar("meeting", default=None)

Ask = Callable[[Sequence[Any]], Sequence[Any]]
"""Answers some questions at once, in their order; an exception is the answer of one that failed."""


@dataclass(eq=False)
class _Question:
    """What one item waits for. Questions of equal `kind` are asked together."""

    kind: Hashable
    ask: Ask
    content: Any
    answer: Any = None
    answered: bool = False


class BatchBarrier:
    """A number of threads, each of which runs an item.

    A question waits until every thread has one or has ended. Nobody is kept longer than the
    slowest of them needs, and they end together anyway: their outcomes leave the process as one.
    """

    def __init__(self, items: int) -> None:
        self._changed = threading.Condition()
        # Threads that may still come with a question.
        self._coming = items
        self._questions: list[_Question] = []

    @contextmanager
    def attended(self) -> Iterator[None]:
        """For the life of an item's thread: `current()` in it is this meeting."""
        token = _here.set(self)
        try:
            yield
        finally:
            _here.reset(token)
            self.leave()

    def leave(self) -> None:
        """One thread less, also when it could not be started."""
        with self._changed:
            self._coming -= 1
            self._changed.notify_all()

    def put(self, kind: Hashable, ask: Ask, content: Any) -> Any:
        """The answer to a question, asked together with those of its kind.

        Raises:
            Exception: what the answer is, where that is an exception.
        """
        question = _Question(kind, ask, content)
        with self._changed:
            self._questions.append(question)
            self._coming -= 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: question.answered or not self._coming)
            if not question.answered:
                # All others wait or have ended, so holding the lock meanwhile keeps nobody.
                self._answer_all()
        if isinstance(question.answer, Exception):
            raise question.answer
        return question.answer

    def _answer_all(self) -> None:
        questions, self._questions = self._questions, []
        kinds: dict[Hashable, list[_Question]] = {}
        for question in questions:
            kinds.setdefault(question.kind, []).append(question)
        for group in kinds.values():
            for question, answer in zip(group, _answers(group), strict=True):
                question.answer, question.answered = answer, True
        self._coming += len(questions)
        self._changed.notify_all()


def _answers(group: Sequence[_Question]) -> Sequence[Any]:
    try:
        return group[0].ask([question.content for question in group])
    except Exception as error:  # noqa: BLE001 raised again by the thread of each item
        return [error] * len(group)


def current() -> BatchBarrier | None:
    """The meeting that this thread attends, if any."""
    return _here.get()
