"""Compare the licence of every locked package with those that accepted.toml allows.

`python deploy/supply/licences.py` needs no network: it reads the metadata of the installed packages
and, where these say nothing usable, the table `stated` of accepted.toml.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

from locks import LOCKS, accepted, pins

# Operators of SPDX expressions, which stand between the licences that they name.
_OPERATORS = frozenset({"AND", "OR", "WITH"})
# Spellings of older metadata, in lower case, that name one licence of SPDX and no other.
_SPELLINGS = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache software license 2.0": "Apache-2.0",
    "bsd 2-clause license": "BSD-2-Clause",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}


def main() -> int:
    """Print each problem; return 0 if there is none, else 1."""
    rules = accepted()["licences"]
    licences = licences_of({name for name, _ in pins(*LOCKS)}, rules["stated"])
    problems = judge(licences, rules)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        excepted = len(rules["exceptions"])
        print(f"licences: {len(licences)} locked packages, {excepted} of them by exception")
    return 1 if problems else 0


def licences_of(
    packages: Iterable[str], stated: Mapping[str, Mapping[str, str]]
) -> dict[str, str | None]:
    """Return the SPDX expression of each package; None where nothing names one."""
    return {
        name: stated[name]["licence"] if name in stated else _from_metadata(name)
        for name in sorted(packages)
    }


def judge(licences: Mapping[str, str | None], rules: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each licence that is not accepted, and for each rule without use.

    Of an expression every licence must be accepted, also where it leaves a choice (OR).
    """
    allowed, exceptions = set(rules["allowed"]), rules["exceptions"]
    problems = []
    for name, expression in licences.items():
        if expression is None:
            problems.append(
                f"{name}: nothing names its licence. Run `make setup-dev` if it is not installed, "
                "else read its licence file and add it to [licences.stated] of "
                "deploy/supply/accepted.toml"
            )
            continue
        excepted = licences_in(exceptions[name]["licence"]) if name in exceptions else set()
        if refused := licences_in(expression) - allowed - excepted:
            problems.append(
                f"{name}: {', '.join(sorted(refused))} is not accepted. Do without it, or explain "
                "it under [licences.exceptions] of deploy/supply/accepted.toml"
            )
        elif excepted and not licences_in(expression) & excepted:
            problems.append(f"{name}: its exception has no use, since it is {expression}")
    for table in ("stated", "exceptions"):
        for name, entry in rules[table].items():
            if name not in licences:
                problems.append(f"{name} of [licences.{table}] is not locked: remove it")
            if not entry.get("reason"):
                problems.append(f"{name} of [licences.{table}] has no reason")
    return problems


def licences_in(expression: str) -> set[str]:
    """Return the licences and exceptions that an SPDX expression names."""
    return set(re.findall(r"[A-Za-z0-9.+-]+", expression)) - _OPERATORS


def _from_metadata(name: str) -> str | None:
    """Return the licence that an installed package states, in the form of SPDX."""
    try:
        facts = metadata(name)
    except PackageNotFoundError:
        return None
    if expression := facts.get("License-Expression"):
        return expression
    text = (facts.get("License") or "").strip()
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in facts.get_all("Classifier") or ()
        if line.startswith("License :: ") and line.count(" :: ") > 1
    ]
    # One classifier is exact where the free text is a name in prose; of several, all hold.
    for found in ([text], classifiers):
        names = [_SPELLINGS.get(each.lower(), each) for each in found]
        if names and all(re.fullmatch(r"[A-Za-z0-9.+-]+( AND [A-Za-z0-9.+-]+)*", n) for n in names):
            return " AND ".join(names)
    return None


if __name__ == "__main__":
    sys.exit(main())
