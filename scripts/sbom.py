#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Prints the module's software bill of materials, as CycloneDX 1.5 JSON.

It lists the crates that `cargo tree -e normal` shows for the module, and the
standard library that is linked in. The same sources and the same compiler give
the same bytes: there is no time, no random number and no path in it.

Usage: sbom.py [ARGUMENTS OF CARGO]   (--offline, --config FILE, ...)
"""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CARGO = os.environ.get("CARGO", "cargo")


def run(*command):
    return subprocess.run(
        command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def compiler():
    """The compiler's version and the target that it builds for."""
    lines = run(os.environ.get("RUSTC", "rustc"), "-vV").splitlines()
    facts = dict(line.split(": ", 1) for line in lines if ": " in line)
    return facts["release"], facts["host"]


def built(host, arguments):
    """Name and version of every crate that the module is built from. (The graph
    of `cargo metadata` has the features that only the tests need as well.)"""
    tree = run(
        *(CARGO, "tree", "--edges", "normal", "--locked", "--target", host),
        *("--prefix", "none", "--format", "{p}", *arguments),
    )
    words = (line.split() for line in tree.splitlines() if line)
    return {(name, version.removeprefix("v")) for name, version, *_ in words}


def reached(root, edges, enter):
    """What can be reached from `root`, entering only packages of `enter`."""
    found, open_ends = {root}, [root]
    while open_ends:
        for package in edges[open_ends.pop()]:
            if package not in found and enter(package):
                found.add(package)
                open_ends.append(package)
    return found


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, checksums, linked):
    entry = {
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        # "excluded": it runs in the compiler, and is not in the module.
        "scope": "required" if linked else "excluded",
        "purl": purl(package),
    }
    if package["license"]:
        expression = package["license"].replace("/", " OR ")
        entry["licenses"] = [{"expression": expression}]
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return entry


def main(arguments):
    release, host = compiler()
    metadata = json.loads(
        run(
            *(CARGO, "metadata", "--format-version", "1", "--locked"),
            *("--filter-platform", host, *arguments),
        )
    )
    with open(ROOT / "Cargo.lock", "rb") as lock:
        locked = tomllib.load(lock)["package"]
    checksums = {(p["name"], p["version"]): p.get("checksum") for p in locked}

    wanted = built(host, arguments)
    packages = {
        package["id"]: package
        for package in metadata["packages"]
        if (package["name"], package["version"]) in wanted
    }
    edges = {
        node["id"]: [
            dependency["pkg"]
            for dependency in node["deps"]
            if dependency["pkg"] in packages
            and any(kind["kind"] is None for kind in dependency["dep_kinds"])
        ]
        for node in metadata["resolve"]["nodes"]
        if node["id"] in packages
    }

    def is_linked(package):
        kinds = [kind for t in packages[package]["targets"] for kind in t["kind"]]
        return "proc-macro" not in kinds

    root = metadata["resolve"]["root"]
    listed = sorted(packages, key=lambda package: purl(packages[package]))
    linked = reached(root, edges, is_linked)

    std = {
        "type": "library",
        "bom-ref": f"pkg:generic/rust-std@{release}",
        "name": "rust-std",
        "version": release,
        "scope": "required",
        "purl": f"pkg:generic/rust-std@{release}",
        "licenses": [{"expression": "MIT OR Apache-2.0"}],
    }
    module = component(packages[root], checksums, True)
    module["properties"] = [{"name": "cargo:target", "value": host}]
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": module},
        "components": [
            component(packages[package], checksums, package in linked)
            for package in listed
            if package != root
        ]
        + [std],
        "dependencies": [
            {
                "ref": purl(packages[package]),
                "dependsOn": sorted(purl(packages[to]) for to in edges[package])
                + ([std["bom-ref"]] if package == root else []),
            }
            for package in listed
        ],
    }
    json.dump(bill, sys.stdout, indent=2)
    print()


main(sys.argv[1:])
