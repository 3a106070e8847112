"""The command `lab cni-verify`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from lab.cni.conf import ConfError
from lab.cni_verify.run import Wanted, verify
from lab.kinds.cni import BIN
from lab.spec import LabError
from netviz.core.plain import plain

BAD_INPUT, FAILED = 2, 3


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the lab's."""
    command = commands.add_parser(
        "cni-verify",
        help="hold a CNI plugin to the specification and to the pod network's contract",
        epilog="Exit status: 0: all holds; 1: something doesn't; 2: bad input; 3: it couldn't be run. docs/cni-verify.md",
    )
    command.add_argument(
        "--plugin-dir", type=Path, default=BIN, help=f"the plugins' programs (default: {BIN})"
    )
    command.add_argument(
        "--conf", type=Path, required=True, help="the network's configuration: *.conflist or *.conf"
    )
    command.add_argument(
        "--nodes", type=int, choices=(1, 2, 3), help="default: 2 if the ranges differ by node, else 1"
    )
    command.add_argument("--rounds", type=int, default=5, help="how often containers come and go under load")
    command.add_argument("--timeout", type=float, default=10.0, help="seconds after which a plugin hangs")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    try:
        text = args.conf.read_text()
    except (OSError, UnicodeDecodeError) as error:
        return _complain(f"{args.conf} can't be read: {error}", BAD_INPUT)
    wanted = Wanted(text, args.plugin_dir.resolve(), args.nodes or 0, args.rounds, args.timeout)
    try:
        found = verify(wanted, lambda said: print(plain(f"... {said}"), file=sys.stderr, flush=True))
    except ConfError as error:
        return _complain(f"{args.conf}: {error}", BAD_INPUT)
    except (LabError, OSError) as error:
        return _complain(str(error), FAILED)
    print(json.dumps(found.as_json(), indent=1) if args.json else found.as_text(), flush=True)
    return found.status


def _complain(text: str, status: int) -> int:
    print(plain(f"lab cni-verify: {text}"), file=sys.stderr)
    return status
