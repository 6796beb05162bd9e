"""Rights of a caller that depend on the job it asks for: its priority, webhook and image URLs."""

from __future__ import annotations

from producer_api.access.caller import Caller
from producer_api.http.forms import SubmitBody
from producer_api.http.problems import Problem
from schemas.jobs import Priority

_HIGHEST_FIRST = tuple(Priority)


def limited_priority(priority: Priority, caller: Caller) -> Priority:
    """Return the priority, or the caller's highest if that is lower."""
    return max(priority, caller.max_priority, key=_HIGHEST_FIRST.index)


def check_permitted(body: SubmitBody, caller: Caller) -> None:
    """Check a request for a job against the rights of its sender.

    Raises:
        Problem: 403 for a priority, a webhook or image URLs that it may not ask for.
    """
    if body.priority is not None and limited_priority(body.priority, caller) != body.priority:
        raise Problem(
            403,
            "priority_not_allowed",
            f"This key allows priority {caller.max_priority.value} at most, not "
            f"{body.priority.value}; ask for a lower one, or leave it out.",
        )
    if body.webhook is not None and not caller.webhooks_allowed:
        raise Problem(
            403,
            "webhook_not_allowed",
            "This key may not name webhook URLs; leave the webhook out and read the job instead.",
        )
    if not caller.urls_allowed and any(given.url is not None for given in body.inputs):
        raise Problem(
            403,
            "url_not_allowed",
            "This key may not name image URLs; send the images themselves.",
        )
