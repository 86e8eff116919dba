#!/usr/bin/env python3
"""Prints the bill of materials of the `harness` binary, as CycloneDX 1.5: every crate that is linked
into it or runs while it is built, with licence and the SHA-256 of its package.

    scripts/sbom.py aarch64-apple-darwin > harness.cdx.json
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def built(target):
    """Packages by id, the nodes of those that the program for `target` is made of, and its own package."""
    command = ["cargo", "metadata", "--locked", "--format-version=1", "--filter-platform", target]
    data = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in data["packages"]}
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    root = next(p for p in packages.values() if p["name"] == "harness" and p["source"] is None)
    return packages, {i: nodes[i] for i in reached(nodes, root["id"])}, root


def reached(nodes, root):
    """Ids of the packages that `root` needs, but for tests."""
    seen, open_ids = set(), [root]
    while open_ids:
        package = open_ids.pop()
        if package not in seen:
            seen.add(package)
            open_ids += needed(nodes[package])
    return seen


def needed(node):
    return [dep["pkg"] for dep in node["deps"] if any(k["kind"] != "dev" for k in dep["dep_kinds"])]


def component(package, checksums):
    name, version = package["name"], package["version"]
    made = {
        "type": "library",
        "bom-ref": reference(package),
        "name": name,
        "version": version,
        "scope": "required",
    }
    if package["source"]:
        made["purl"] = f"pkg:cargo/{name}@{version}"
    if package["license"]:
        # Some crates still write `MIT/Apache-2.0`, which is no SPDX expression.
        made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum := checksums.get((name, version)):
        made["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return made


def reference(package):
    """What the bill calls a package: no path of the machine that built it."""
    return f"{package['name']}@{package['version']}"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    packages, nodes, root = built(sys.argv[1])
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {(p["name"], p["version"]): p.get("checksum") for p in lock["package"]}
    ids = sorted(nodes)
    program = component(root, checksums) | {"type": "application"}
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": program},
        "components": [component(packages[i], checksums) for i in ids if i != root["id"]],
        "dependencies": [
            {
                "ref": reference(packages[i]),
                "dependsOn": sorted({reference(packages[j]) for j in needed(nodes[i])}),
            }
            for i in ids
        ],
    }
    json.dump(bill, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
