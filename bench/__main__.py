"""Run the benchmarks one after the other: `python -m bench [NAME...] [--full] [--document]`.

Each runs in a process of its own and prints its lines. The program ends with 1 when any target is
missed. `--document` also writes `docs/reference/benchmarks.md` from the newest results.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from bench import document
from bench.harness import ROOT

NAMES = ("egress", "gateway", "ingest", "money", "rest", "startup", "streaming", "summary")
SCALED = ("gateway", "streaming", "summary")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--full", action="store_true", help="full scale where it takes long")
    parser.add_argument("--document", action="store_true", help="write the reference page")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    failed = [name for name in options.names or NAMES if not _passes(name, is_full=options.full)]
    if options.document:
        document.write()
    if failed:
        sys.exit(f"\nbenchmarks that missed a target: {', '.join(failed)}")


def _passes(name: str, *, is_full: bool) -> bool:
    flags = ["--full"] if is_full and name in SCALED else []
    words = [sys.executable, "-m", f"bench.{name}", *flags]
    return subprocess.run(words, cwd=ROOT, check=False).returncode == 0


if __name__ == "__main__":
    main()
