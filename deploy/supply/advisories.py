"""Look every locked package up in a database of known vulnerabilities, with pip-audit.

`python deploy/supply/advisories.py` asks PyPI, and OSV (osv.dev) where PyPI does not know the
versions, as mirrors of it often do not. A package that neither knows is no clean package: the
command then fails, and says that nothing is known.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from locks import LOCKS, accepted, pins

SERVICES = ("pypi", "osv")
# Exit statuses: a vulnerability, and no answer at all.
VULNERABLE, UNKNOWN = 1, 2
_TIMEOUT_S = 600
_MAX_REASON_CHARS = 300


class NotAudited(Exception):
    """A service did not judge every package; the text says why."""


def main(services: Iterable[str] = SERVICES, locks: Iterable[str] = LOCKS) -> int:
    """Print each problem; return 0 if there is none, 1 if there is, 2 if no service answered."""
    packages = pins(*locks)
    failures = []
    for service in services:
        try:
            report = audited(service, packages)
        except NotAudited as error:
            failures.append(f"{service}: {error}")
            continue
        problems = judge(report, accepted()["advisories"])
        for problem in problems:
            print(problem, file=sys.stderr)
        if not problems:
            print(f"advisories: {len(packages)} locked packages, none vulnerable ({service})")
        return VULNERABLE if problems else 0
    print(
        "make audit: no service of advisories answered, so nothing is known about the locked "
        "packages. Run it where the advisories of PyPI or OSV can be had, or set PIP_AUDIT_OSV_URL "
        "to a mirror of OSV.\n  " + "\n  ".join(failures),
        file=sys.stderr,
    )
    return UNKNOWN


def audited(service: str, packages: Collection[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return pip-audit's findings, an entry for each package, given as name and version.

    Raises:
        NotAudited: the service did not answer, or does not know one of the packages.
    """
    report: list[dict[str, Any]] = []
    # pip-audit refuses a second version of a package in one file.
    rounds: list[dict[str, str]] = []
    for name, version in sorted(packages):
        free = next((each for each in rounds if name not in each), None)
        if free is None:
            rounds.append(free := {})
        free[name] = version
    for each in rounds:
        report += _pip_audit(service, each)
    if skipped := [each["name"] for each in report if "skip_reason" in each]:
        raise NotAudited(
            f"{len(skipped)} of {len(packages)} packages are not known there, {skipped[0]} for one"
        )
    if missing := set(packages) - {(each["name"], each["version"]) for each in report}:
        raise NotAudited(f"{len(missing)} packages were left out, {min(missing)[0]} for one")
    return report


def _pip_audit(service: str, packages: Mapping[str, str]) -> list[dict[str, Any]]:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        # Without the markers of the lock files: packages of other platforms are judged as well.
        file.writelines(f"{name}=={version}\n" for name, version in packages.items())
        file.flush()
        done = subprocess.run(
            [
                *(
                    sys.executable,
                    "-m",
                    "pip_audit",
                    "--format",
                    "json",
                    "--progress-spinner",
                    "off",
                ),
                *("--disable-pip", "--no-deps", "--desc", "off", "-s", service, "-r", file.name),
            ],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
    try:
        return json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise NotAudited(last[:_MAX_REASON_CHARS]) from None


def judge(
    report: Iterable[Mapping[str, Any]], exceptions: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """Return a sentence for each vulnerability without an exception, and each unused exception."""
    problems, used = [], set()
    for package in report:
        for found in package["vulns"]:
            names = {found["id"], *found.get("aliases", ())}
            excepted = {
                name for name in names if exceptions.get(name, {}).get("package") == package["name"]
            }
            used |= excepted
            if not excepted:
                fixed = ", ".join(found["fix_versions"]) or "no version yet"
                problems.append(
                    f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}. "
                    "Lock that, or explain under [advisories] of deploy/supply/accepted.toml why "
                    "it does no harm"
                )
    for name, entry in exceptions.items():
        if not entry.get("reason"):
            problems.append(f"{name} of [advisories] has no reason")
        if name not in used:
            problems.append(f"{name} of [advisories] concerns nothing that is locked: remove it")
    return problems


if __name__ == "__main__":
    sys.exit(main())
