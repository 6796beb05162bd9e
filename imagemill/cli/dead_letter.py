"""`imagemill dead-letter`: list what was given up, say why, and put it back."""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
from contextlib import closing
from dataclasses import replace
from typing import NamedTuple

from imagemill.kafka.dead_letters import (
    DEAD_LETTER_TOPICS,
    DeadLetter,
    DeadLetters,
    NotReplayable,
    as_json,
)
from imagemill.kafka.errors import KafkaUnavailable, TopicsMissing
from imagemill.local.errors import LocalError
from imagemill.settings import KafkaSettings
from schemas.times import canonical, to_epoch
from schemas.topics import Topic

_TOPICS = {topic.name: topic for topic in DEAD_LETTER_TOPICS}
_ID = re.compile(rf"({'|'.join(map(re.escape, _TOPICS))})-(\d{{1,9}})@(\d{{1,18}})")
_DEFAULT_LIMIT = 100
# Of a value, `show` prints so much to a terminal; --json has all of it.
_MAX_SHOWN_CHARS = 4000


class _Id(NamedTuple):
    topic: Topic
    partition: int
    offset: int


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    listing = actions.add_parser("list", help="list dead letters, the newest last")
    _span(listing)
    listing.add_argument(
        "--limit",
        type=_count,
        default=_DEFAULT_LIMIT,
        help=f"show the newest so many; {_DEFAULT_LIMIT} by default",
    )
    show = actions.add_parser("show", help="show one dead letter with its headers and its value")
    show.add_argument("id", type=_id, help="its id, such as jobs.dead-letter-0@17")
    back = actions.add_parser("replay", help="put dead letters back where they came from")
    back.add_argument("id", type=_id, nargs="?", help="the one of this id; else give --since")
    _span(back)
    back.add_argument(
        "--dry-run", action="store_true", help="say what would be put back, and write nothing"
    )
    for action in (listing, show, back):
        action.add_argument("--json", action="store_true", help="print JSON, for programs")
        action.set_defaults(error=action.error)


def run(args: argparse.Namespace) -> int:
    """List, show or replay; return 0, 1 if one could not be put back, 2 for bad arguments."""
    if args.action == "replay" and (args.id is None) == (args.since is None):
        args.error("give either an id or --since, such as --since 2026-11-29T12:00:00Z")
    if args.action == "replay" and args.id is not None and (args.until or args.topic):
        args.error("--until and --topic go with --since; an id alone names the record")
    try:
        with closing(DeadLetters(KafkaSettings())) as letters:
            return {"list": _list, "show": _show, "replay": _replay}[args.action](letters, args)
    except (KafkaUnavailable, TopicsMissing) as error:
        raise LocalError(str(error)) from error


def _list(letters: DeadLetters, args: argparse.Namespace) -> int:
    found = _found(letters, args)
    newest = found[-args.limit :]
    left = len(found) - len(newest)
    if args.json:
        print(json.dumps({"letters": [as_json(each) for each in newest], "left_out": left}))
        return 0
    for each in newest:
        print(f"{each.id}  {each.at}  from {each.source or 'a webhook'}\n    {each.reason}")
    print(f"{len(found)} dead letters" + (f", {left} older ones not shown" if left else ""))
    return 0


def _show(letters: DeadLetters, args: argparse.Namespace) -> int:
    letter = _existing(letters, args, args.id)
    try:
        goes_to, refusal = letters.check(letter), None
    except NotReplayable as error:
        goes_to, refusal = None, str(error)
    headers = [[name, text.decode(errors="replace")] for name, text in letter.headers]
    if args.json:
        facts = {**as_json(letter), "headers": headers, **_value(letter.value)}
        print(json.dumps(facts | {"replays_to": goes_to, "not_replayable": refusal}))
        return 0
    for name, fact in as_json(letter).items():
        print(f"{name:<14} {'-' if fact is None else fact}")
    print(f"{'replays to':<14} {goes_to or f'nowhere: {refusal}'}")
    for name, text in headers:
        print(f"{'header':<14} {name}: {text}")
    value = (letter.value or b"").decode(errors="replace")
    print(f"{'value':<14} {len(letter.value or b'')} bytes\n{value[:_MAX_SHOWN_CHARS]}")
    if len(value) > _MAX_SHOWN_CHARS:
        print(f"... ({len(value) - _MAX_SHOWN_CHARS} more characters; --json has all)")
    return 0


def _replay(letters: DeadLetters, args: argparse.Namespace) -> int:
    chosen = [_existing(letters, args, args.id)] if args.id else _found(letters, args)
    outcomes = [_outcome(letters, each, args) for each in chosen]
    refused = [each for each in outcomes if each["refused"] is not None]
    if args.json:
        print(json.dumps({"replayed": outcomes, "dry_run": args.dry_run}))
    else:
        done = "would be put back" if args.dry_run else "put back"
        print(f"{len(outcomes) - len(refused)} {done}, {len(refused)} not")
    return 1 if refused else 0


def _outcome(
    letters: DeadLetters, letter: DeadLetter, args: argparse.Namespace
) -> dict[str, str | None]:
    """Put one dead letter back; return its id and the place, or the reason why not."""
    place = refused = None
    try:
        whole = letters.find(_TOPICS[letter.topic], letter.partition, letter.offset)
        if whole is None:
            raise NotReplayable("it was removed meanwhile")
        place = letters.check(whole) if args.dry_run else letters.replay(whole)
    except NotReplayable as error:
        refused = str(error)
    if not args.json:
        text = f"to {place}" if refused is None else f"not put back: {refused}"
        print(f"{letter.id}  {text}", file=sys.stdout if refused is None else sys.stderr)
    return {"id": letter.id, "to": place, "refused": refused}


def _found(letters: DeadLetters, args: argparse.Namespace) -> list[DeadLetter]:
    """Return the dead letters of the span, oldest first, without their values: up to 4 MiB each."""
    topics = [_TOPICS[args.topic]] if args.topic else DEAD_LETTER_TOPICS
    since_s, until_s = args.since or 0.0, args.until or float("inf")
    found = [replace(each, value=None) for each in letters.read(topics, since_s, until_s)]
    return sorted(found, key=lambda each: (each.at, each.topic, each.partition, each.offset))


def _existing(letters: DeadLetters, args: argparse.Namespace, wanted: _Id) -> DeadLetter:
    letter = letters.find(*wanted)
    if letter is None:
        args.error(
            f"there is no {wanted.topic.name}-{wanted.partition}@{wanted.offset}; `imagemill "
            "dead-letter list` shows those that are kept"
        )
    return letter


def _value(value: bytes | None) -> dict[str, str | None]:
    """Return the value as text where it is UTF-8, else in base64."""
    try:
        return {"value": None if value is None else value.decode(), "value_base64": None}
    except UnicodeDecodeError:
        return {"value": None, "value_base64": base64.b64encode(value or b"").decode()}


def _span(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--topic", choices=sorted(_TOPICS), help="those of one topic only")
    parser.add_argument(
        "--since", type=_time, metavar="TIME", help="those written at this time or later"
    )
    parser.add_argument("--until", type=_time, metavar="TIME", help="those written before")


def _id(text: str) -> _Id:
    found = _ID.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no id of a dead letter, such as jobs.dead-letter-0@17"
        )
    return _Id(_TOPICS[found[1]], int(found[2]), int(found[3]))


def _time(text: str) -> float:
    try:
        return to_epoch(canonical(text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time with a zone, such as 2026-11-29T12:00:00Z"
        ) from None


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 100000")
    return int(text)
