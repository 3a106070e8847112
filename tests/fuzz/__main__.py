"""`make fuzz`: python -m tests.fuzz [frames|states|requests]... [--seed N] [--share PERCENT]

Exit status 0: no exception but the named refusals, memory within its bound; 1: failures, each with
the first input that shows it. The same seed makes the same inputs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FULL = {"frames": 200_000, "states": 10_000, "requests": 12_000}


@contextmanager
def application() -> Iterator[None]:
    """Django with an empty database of its own."""
    with tempfile.TemporaryDirectory(prefix="netviz-fuzz-") as folder:
        os.environ.update(
            DJANGO_SETTINGS_MODULE="netviz.settings",
            NETVIZ_VAR_DIR=folder,
        )
        import django
        from django.core.management import call_command
        from django.test.utils import setup_test_environment, teardown_test_environment

        django.setup()
        call_command("migrate", verbosity=0)
        setup_test_environment()
        try:
            yield
        finally:
            teardown_test_environment()


def main(argv: list[str]) -> int:
    """Run the fuzzers named, all by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz netviz.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(FULL)}; all without")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument(
        "--share", type=float, default=100.0, metavar="PERCENT", help="of the inputs; default: 100"
    )
    options = parser.parse_args(argv)
    if unknown := [name for name in options.names if name not in FULL]:
        parser.error(f"no fuzzer {unknown[0]!r}; there are: {', '.join(FULL)}")
    good = True
    with application():
        from tests.fuzz import frames, requests, states

        fuzzers: dict[str, Callable[..., object]] = {
            "frames": frames.run,
            "states": states.run,
            "requests": requests.run,
        }
        for name in options.names or FULL:
            report = fuzzers[name](max(1, int(FULL[name] * options.share / 100)), options.seed)
            good &= report.close()  # type: ignore[attr-defined]
    print("no failure" if good else "FAILED", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
