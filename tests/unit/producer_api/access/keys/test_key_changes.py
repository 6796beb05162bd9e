"""Two changes of one key at the same time become one that has both."""

from __future__ import annotations

from producer_api.access.keys.changes import merged
from producer_api.access.keys.secret import new_secret
from tests.support.keys import made_key, stored


def test_changes_of_different_fields_are_both_kept() -> None:
    base, _ = made_key(name="shop", weight=1)
    theirs, ours = base.evolve(name="renamed"), base.evolve(weight=5)

    result = merged(base, theirs, ours)
    assert (result.name, result.weight) == ("renamed", 5)


def test_of_two_changes_of_one_field_the_later_one_counts() -> None:
    base, _ = made_key(weight=1)

    assert merged(base, base.evolve(weight=2), base.evolve(weight=3)).weight == 3


def test_a_rotation_that_a_change_of_rights_undid_comes_back_as_it_was() -> None:
    base, _ = made_key(weight=1)
    rotated = base.evolve(secrets=(stored(new_secret(base.key_id)),))

    result = merged(base, rotated, base.evolve(weight=2))
    assert (result.secrets, result.weight) == (rotated.secrets, 2)


def test_the_new_secrets_of_two_rotations_are_both_valid() -> None:
    base, _ = made_key()
    first, second = (stored(new_secret(base.key_id)) for _ in range(2))
    former = base.secrets[0].evolve(expires_at="2030-01-01T00:00:00.000Z")

    result = merged(
        base, base.evolve(secrets=(former, first)), base.evolve(secrets=(former, second))
    )
    assert set(result.secrets) == {first, second}
