#!/usr/bin/env python3
"""How many tests ran: test_summary.py REPORTS. Fails if none did, or if any was skipped (a check that does not run checks nothing)."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def main(folder: str) -> None:
    total = skipped = 0
    seconds = 0.0
    for report in sorted(Path(folder).glob("TEST-*.xml")):
        suite = ElementTree.parse(report).getroot()
        count = int(suite.get("tests", "0"))
        total += count
        skipped += int(suite.get("skipped", "0"))
        seconds += float(suite.get("time", "0").replace(",", ""))
        print(f"  {count:3d} tests  {suite.get('name')}")
    print(f"  {total} tests, {skipped} skipped, {seconds:.0f} s")
    if not total or skipped:
        sys.exit("every Java test must run")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
