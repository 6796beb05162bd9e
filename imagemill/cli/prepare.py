"""`imagemill prepare`: create once what the services of a deployment need."""

from __future__ import annotations

import argparse

from imagemill.cli.keys import print_new
from imagemill.cli.services import FIRST_KEY, MODELS, SOME_MODELS, load
from imagemill.kafka.errors import KafkaUnavailable, TopicsMissing
from imagemill.kafka.topics import create_topics
from imagemill.local.errors import LocalError
from imagemill.settings import ApiSettings, KafkaSettings, StoreSettings
from imagemill.storage import StoreUnavailable, open_store
from imagemill.storage.probe import try_store


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare no arguments: the settings say everything."""


def run(args: argparse.Namespace) -> int:
    """Create topics, bucket and first API key, fetch the default models; safe to repeat."""
    ensure_topics(KafkaSettings())
    ensure_store(StoreSettings())
    ensure_models()
    # Last: its secret is then at the end of the output, and printed by a run that succeeds.
    ensure_key(ApiSettings())
    return 0


def ensure_topics(settings: KafkaSettings) -> None:
    """Create the topics that are missing.

    Raises:
        LocalError: the broker is away, or has topics of those names with other settings.
    """
    try:
        created = create_topics(settings)
    except (KafkaUnavailable, TopicsMissing) as error:
        raise LocalError(str(error)) from error
    if created:
        print(f"created {len(created)} topics", flush=True)


def ensure_store(settings: StoreSettings) -> None:
    """Create what the object store needs, such as its bucket, and try what services do in it.

    Raises:
        LocalError: the server is away, or refuses our keys; the text names what is missing.
    """
    try:
        store = open_store(settings)
        if created := store.prepare():
            print(f"created the {created}")
        store.check()
        try_store(store)
    except (StoreUnavailable, ValueError) as error:
        raise LocalError(str(error)) from error


def ensure_key(settings: ApiSettings) -> str | None:
    """Create and print an admin's key where the API needs one and there is none yet.

    Returns:
        The secret of the new key; None if none was made.

    Raises:
        LocalError: the keys can be neither read nor written.
    """
    try:
        key = load(FIRST_KEY)(settings)
    except KafkaUnavailable as error:
        raise LocalError(str(error)) from error
    if key is None:
        return None
    assert isinstance(key, dict)
    print("The API listens on the network, so it needs a key; this is the first:")
    print_new(key)
    return str(key["secret"])


def ensure_models(*, some: bool = False) -> None:
    """Fetch the models that are used by default.

    With `some`, one of them is enough, for a machine that reaches only one of the registries;
    those that are missing are named here, and by the jobs that need them.

    Raises:
        LocalError: one of them, or with `some` all of them, could not be fetched; the reason was
            printed.
    """
    status = load(MODELS)(["fetch", "--default"])
    if status == SOME_MODELS and some:
        print("imagemill goes on with the models that are here")
    elif status:
        raise LocalError("the default models could not be fetched; the reason is above")
