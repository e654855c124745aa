"""What an installation of ecg-hub is made of: a bill of materials (CycloneDX) and the licences.

    python benchmarks/supply_chain.py [--extra serve] [--sbom build/ecg-hub.cdx.json] [--licences build/licences.csv]

Read from the metadata of what is installed, along the requirements of pyproject.toml; nothing is fetched. `make sbom`
writes both files for a release. Ends with an error where a package of the installation states no licence, or one that
asks more of who passes ecg-hub on than a notice.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import re
import sys
import tomllib
import uuid
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
COPYLEFT = re.compile(r"\b(?:A?GPL|LGPL|Affero|SSPL|EUPL|CC-BY-NC)", re.IGNORECASE)
# Proprietary libraries of CUDA come with the usual torch and not with the one for CPUs.
VENDORS = re.compile(r"(?:nvidia|cuda)-")


def requirements(extras: Sequence[str]) -> Iterator[Requirement]:
    """Yield what pyproject.toml asks for, with the extras that are named."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    yield from map(Requirement, project["dependencies"])
    for extra in extras:
        for text in project["optional-dependencies"][extra]:
            needed = Requirement(text)
            yield from requirements(sorted(needed.extras)) if needed.name == "ecg-hub" else [needed]


def closure(extras: Sequence[str]) -> tuple[dict[str, Distribution], dict[str, set[str]]]:
    """Return what is installed for the requirements by name, and which of them each needs itself; "" is ecg-hub."""
    found: dict[str, Distribution] = {}
    needs: dict[str, set[str]] = {"": set()}
    waiting = [("", needed, frozenset[str]()) for needed in requirements(extras)]
    done = set[tuple[str, frozenset[str]]]()
    while waiting:
        parent, needed, wanted = waiting.pop()
        if needed.marker and not any(needed.marker.evaluate({"extra": extra}) for extra in (wanted or {""})):
            continue
        name = canonicalize_name(needed.name)
        try:
            found.setdefault(name, distribution(needed.name))
        except PackageNotFoundError:
            # Of another system, or of an extra that nothing here asks for.
            continue
        needs.setdefault(parent, set()).add(name)
        inner = frozenset(needed.extras)
        if (name, inner) not in done:
            done.add((name, inner))
            waiting += [(name, Requirement(text), inner) for text in found[name].requires or ()]
    return found, needs


def licence(package: Distribution) -> str:
    """Return what a package states: an expression, else its classifiers, else the first line of the text."""
    stated = package.metadata
    if expression := stated.get("License-Expression"):
        return str(expression)
    names = [text.rpartition(" :: ")[2] for text in stated.get_all("Classifier") or () if text.startswith("License ::")]
    named = [name for name in names if name != "OSI Approved"]
    return "; ".join(named) or str(stated.get("License") or "").strip().partition("\n")[0] or "unknown"


def purl(package: Distribution) -> str:
    return f"pkg:pypi/{canonicalize_name(package.metadata['Name'])}@{package.version}"


def sbom(extras: Sequence[str]) -> dict[str, Any]:
    """Return the bill of materials as CycloneDX 1.6; the same installation gives the same bill."""
    found, needs = closure(extras)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    own = f"pkg:pypi/ecg-hub@{version}"
    references = {name: purl(package) for name, package in found.items()} | {"": own}
    components = [
        {
            "type": "library",
            "bom-ref": references[name],
            "name": package.metadata["Name"],
            "version": package.version,
            "purl": references[name],
            "description": (package.metadata.get("Summary") or "").strip(),
            "licenses": [{"license": {"name": licence(package)}}],
        }
        for name, package in sorted(found.items())
    ]
    dependencies = [
        {"ref": reference, "dependsOn": sorted(references[inner] for inner in needs.get(name, ()))}
        for name, reference in sorted(references.items())
    ]
    digest = hashlib.sha256(json.dumps([components, dependencies]).encode()).digest()
    ours = {"type": "application", "bom-ref": own, "name": "ecg-hub", "version": version, "purl": own}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.UUID(bytes=digest[:16], version=4)}",
        "version": 1,
        "metadata": {"component": ours | {"licenses": [{"license": {"id": "Apache-2.0"}}]}},
        "components": components,
        "dependencies": dependencies,
    }


def doubtful(found: dict[str, Distribution]) -> list[str]:
    """Return the packages that state no licence, or one that asks for more than a notice."""
    stated = {name: licence(package) for name, package in found.items() if not VENDORS.match(name)}
    return sorted(f"{name}: {text}" for name, text in stated.items() if text == "unknown" or COPYLEFT.search(text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extra", action="append", default=[], help="of pyproject.toml (default: serve)")
    parser.add_argument("--sbom", type=Path, help="file to write")
    parser.add_argument("--licences", type=Path, help="file to write")
    args = parser.parse_args()
    extras = args.extra or ["serve"]
    found, _ = closure(extras)
    for path in (args.sbom, args.licences):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
    if args.sbom:
        args.sbom.write_text(json.dumps(sbom(extras), indent=1) + "\n")
    if args.licences:
        with args.licences.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["package", "version", "licence"])
            table.writerows([name, package.version, licence(package)] for name, package in sorted(found.items()))
    wrong = doubtful(found)
    print(f"{len(found)} packages with {', '.join(extras)}")
    if wrong:
        sys.exit("not to be passed on without a look:\n  " + "\n  ".join(wrong))


if __name__ == "__main__":
    main()
