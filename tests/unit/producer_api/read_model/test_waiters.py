"""Requests that wait for a job, or for a transaction."""

from __future__ import annotations

import asyncio

from producer_api.read_model.waiters import TransactionWaiters, Waiters


async def test_a_change_wakes_those_who_wait_for_that_job() -> None:
    waiters = Waiters(10)
    with waiters.watch("a") as first, waiters.watch("a") as second, waiters.watch("b") as other:
        assert first and second and other
        assert waiters.count == 3
        waiters.wake(["a", "c"])
        waiters.wake(["a"])
        assert first.done() and second.done() and not other.done()
    assert waiters.count == 0


async def test_above_the_limit_nobody_waits() -> None:
    waiters = Waiters(1)
    with waiters.watch("a") as first:
        with waiters.watch("a") as second:
            assert first is not None and second is None
        with waiters.watch("b") as third:
            assert third is None
    with waiters.watch("b") as again:
        assert again is not None


async def test_a_server_that_stops_lets_all_requests_answer() -> None:
    waiters = Waiters(10)
    with waiters.watch("a") as change:
        assert change is not None
        waiters.close()
        await asyncio.wait_for(change, 1)
        with waiters.watch("a") as refused:
            assert refused is None


async def test_a_request_that_was_given_up_waits_no_more() -> None:
    waiters, transactions = Waiters(10), TransactionWaiters()

    async def wait() -> None:
        with waiters.watch("a") as change, transactions.watch() as transaction:
            assert change is not None
            await asyncio.wait([change, transaction])

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    assert (waiters.count, transactions.count) == (1, 1)
    task.cancel()
    await asyncio.wait([task])
    assert (waiters.count, transactions.count) == (0, 0)
    waiters.wake(["a"])
    transactions.wake()


async def test_a_transaction_wakes_all_who_wait_for_one() -> None:
    transactions = TransactionWaiters()
    with transactions.watch() as first:
        transactions.wake()
        assert first.done()
        with transactions.watch() as second:
            assert not second.done()
            transactions.wake()
            assert second.done()
