"""A barrier asks once for all that came, whenever the last of them comes or ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from processor.models.batching import BatchBarrier, current


def run_all(barrier: BatchBarrier, *items: Callable[[], Any]) -> list[Any]:
    """Run each item in a thread of the barrier; return its value or the exception it raised."""
    results: list[Any] = [None] * len(items)

    def run(place: int) -> None:
        with barrier.attended():
            try:
                results[place] = items[place]()
            except LookupError as error:
                results[place] = error

    threads = [threading.Thread(target=run, args=[place]) for place in range(len(items))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return results


class Oracle:
    """Answers with the question and how many came with it; counts how often it is asked."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, contents: Sequence[str]) -> list[tuple[str, int]]:
        self.sizes.append(len(contents))
        return [(content, len(contents)) for content in contents]


def asking(oracle: Callable[..., Any], content: str, kind: str = "k") -> Callable[[], Any]:
    def ask() -> Any:
        here = current()
        assert here is not None
        return here.ask(kind, oracle, content)

    return ask


def test_all_that_come_are_asked_once() -> None:
    oracle = Oracle()
    results = run_all(BatchBarrier(3), *(asking(oracle, letter) for letter in "abc"))
    assert results == [("a", 3), ("b", 3), ("c", 3)]
    assert oracle.sizes == [3]


def test_nobody_waits_for_those_that_end_without_a_question() -> None:
    oracle = Oracle()
    assert run_all(BatchBarrier(2), asking(oracle, "a"), lambda: "done") == [("a", 1), "done"]


def test_nobody_waits_for_those_that_could_not_be_started() -> None:
    barrier = BatchBarrier(2)
    barrier.leave()
    assert run_all(barrier, asking(Oracle(), "a")) == [("a", 1)]


def test_questions_of_another_kind_are_asked_apart() -> None:
    oracle = Oracle()
    items = [asking(oracle, "a", "x"), asking(oracle, "b", "y"), asking(oracle, "c", "x")]
    assert run_all(BatchBarrier(3), *items) == [("a", 2), ("b", 1), ("c", 2)]


def test_later_questions_meet_again() -> None:
    oracle = Oracle()

    def twice() -> list[tuple[str, int]]:
        return [asking(oracle, "first")(), asking(oracle, "second")()]

    once = asking(oracle, "first")
    assert run_all(BatchBarrier(3), twice, twice, once)[:2] == [[("first", 3), ("second", 2)]] * 2
    assert oracle.sizes == [3, 2]


def test_an_answer_that_is_an_exception_is_raised_for_its_item_alone() -> None:
    def picky(contents: Sequence[str]) -> list[Any]:
        return [LookupError(content) if content == "b" else content for content in contents]

    first, second = run_all(BatchBarrier(2), asking(picky, "a"), asking(picky, "b"))
    assert first == "a"
    assert isinstance(second, LookupError)


def test_when_asking_fails_all_of_its_kind_hear_of_it() -> None:
    def broken(contents: Sequence[str]) -> list[Any]:
        raise LookupError("broken")

    results = run_all(BatchBarrier(3), asking(broken, "a"), asking(broken, "b"), lambda: "well")
    assert [type(result) for result in results] == [LookupError, LookupError, str]


def test_other_threads_attend_no_barrier() -> None:
    assert current() is None
