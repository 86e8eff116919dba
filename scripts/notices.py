#!/usr/bin/env python3
"""Prints the licences of the crates in the `harness` binary, which ask to go wherever it goes: each
text once, under the names of the crates that bring it.

    scripts/notices.py aarch64-apple-darwin > THIRD-PARTY.txt
"""

import re
import sys
from pathlib import Path

from sbom import built, reference

TEXT = re.compile(r"(licen[cs]e|copying|copyright|notices?|unlicense)([-._].*)?$", re.I)


def texts(package):
    folder = Path(package["manifest_path"]).parent
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and TEXT.match(path.name)]
    return [path.read_text(errors="replace") for path in files]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    packages, nodes, _ = built(sys.argv[1])
    crates, bare = {}, []
    for package in sorted((packages[i] for i in nodes), key=reference):
        if package["source"] is None:
            continue
        # Copies of one licence are wrapped and indented in their own ways.
        found = {" ".join(text.split()): text for text in texts(package)}
        for key, text in found.items():
            crates.setdefault(key, (text, []))[1].append(reference(package))
        if not found:
            bare.append(f"{reference(package)}: {package['license']}")
    print("This program contains the crates named here, under the licences that follow their names.")
    for text, names in crates.values():
        print(f"\n{'-' * 80}\n{', '.join(names)}\n{'-' * 80}\n\n{text.strip()}")
    if bare:
        print(f"\n{'-' * 80}\nWithout a text of their own, under the licence of this name:\n{'-' * 80}\n")
        print("\n".join(bare))


main()
