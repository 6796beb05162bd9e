"""Callers: who sees what."""

from __future__ import annotations

import pytest

from producer_api.access.caller import ANYONE, Caller


def test_a_caller_sees_its_own_things_alone_if_it_is_so_limited() -> None:
    alice = Caller(owner="alice", own_only=True)
    assert alice.sees("alice")
    assert not alice.sees("bob")
    assert not alice.sees(None)
    assert Caller(owner="alice").sees("bob")
    assert ANYONE.sees(None) and ANYONE.sees("bob")


def test_a_caller_that_sees_only_its_own_things_needs_an_owner() -> None:
    """Without one it would see the jobs that were made before there were keys."""
    with pytest.raises(ValueError, match="needs an owner"):
        Caller(name="reports", own_only=True)
