"""Join the model calls of items that run side by side in threads of one process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

_current: ContextVar[BatchBarrier | None] = ContextVar("batch_barrier", default=None)

Answer = Callable[[Sequence[Any]], Sequence[Any]]
"""Answers several questions in one call, in their order; a failed one is answered by its error."""


@dataclass(eq=False)
class _Question:
    """A model call that one item waits for; those of equal `kind` are answered together."""

    kind: Hashable
    answer_all: Answer
    content: Any
    answer: Any = None
    answered: bool = False


class BatchBarrier:
    """A barrier for `items` threads, each of which runs one item.

    A question waits until every thread has asked one or has ended. That delays no item: all items
    of a batch end together anyway, as their outcomes leave the process in one message.
    """

    def __init__(self, items: int) -> None:
        self._changed = threading.Condition()
        # Threads that may still ask before the next call.
        self._running = items
        self._questions: list[_Question] = []

    @contextmanager
    def attended(self) -> Iterator[None]:
        """Make this barrier the thread's current() one until the block ends, then leave it."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)
            self.leave()

    def leave(self) -> None:
        """Expect one thread less: it has ended, or could not be started."""
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def ask(self, kind: Hashable, answer_all: Answer, content: Any) -> Any:
        """Return the answer to `content`, computed in one call with those of the same kind.

        Raises:
            Exception: the answer is one.
        """
        question = _Question(kind, answer_all, content)
        with self._changed:
            self._questions.append(question)
            self._running -= 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: question.answered or not self._running)
            if not question.answered:
                # Every other thread waits or has ended, so holding the lock blocks nobody.
                self._answer_waiting()
        if isinstance(question.answer, Exception):
            raise question.answer
        return question.answer

    def _answer_waiting(self) -> None:
        questions, self._questions = self._questions, []
        kinds: dict[Hashable, list[_Question]] = {}
        for question in questions:
            kinds.setdefault(question.kind, []).append(question)
        for group in kinds.values():
            for question, answer in zip(group, _answers(group), strict=True):
                question.answer, question.answered = answer, True
        self._running += len(questions)
        self._changed.notify_all()


def _answers(group: Sequence[_Question]) -> Sequence[Any]:
    try:
        return group[0].answer_all([question.content for question in group])
    except Exception as error:  # noqa: BLE001 raised again in the thread of each item
        return [error] * len(group)


def current() -> BatchBarrier | None:
    """Return the barrier of the calling thread, or None outside a batch."""
    return _current.get()
