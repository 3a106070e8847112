"""`./manage.py policy`: what policies would change, or why a flow is allowed or denied, from files alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from netviz.core.intent.preview import changes_any, preview, preview_json
from netviz.core.plain import counted, plain
from netviz.core.wire.nvz import NvzError
from netviz.kubernetes.proposed import BadPolicy, read_policies
from netviz.kubernetes.whys import NO_POLICIES, why_of
from netviz.tracing.apis import apis_in, doubts
from netviz.tracing.offline import OfflineCommand
from netviz.tracing.predict import CannotTrace
from netviz.tracing.request import TraceRequest
from netviz.tracing.states import View, of_files


class Command(OfflineCommand):
    """Ask what policies say."""

    name = "policy"
    help = "Say what a policy would change (--policy), or why policies allow or deny a flow (--from, --to)"

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        self.add_state_files(parser)
        parser.add_argument(
            "--policy", metavar="FILE.yaml", help="policies that are proposed; nothing is applied"
        )
        parser.add_argument("--from", dest="source", metavar="SRC", help="as trace takes it")
        parser.add_argument("--to", dest="target", metavar="DST", help="as trace takes it, also with :PORT")
        parser.add_argument("--proto", default="tcp", choices=("tcp", "udp"))
        parser.add_argument("--dport", type=int, metavar="N")
        parser.add_argument("--json", action="store_true", help="as the API answers")

    def handle(self, *args: Any, **options: Any) -> None:
        """Answer and print."""
        asked = options["source"] is not None and options["target"] is not None
        if bool(options["policy"]) == asked:
            self.fail("give --policy FILE.yaml, or --from SRC and --to DST")
        try:
            view = of_files(options["state"], options["objects"])
            found = self._why(view, options) if asked else self._preview(view, options["policy"])
        except (NvzError, CannotTrace, BadPolicy) as err:
            self.fail(str(err))
        if options["json"]:
            self.stdout.write(json.dumps(found, indent=2))
            return
        for line in _why_lines(found) if asked else _lines(found):
            self.stdout.write(plain(line))

    def _why(self, view: View, options: Mapping[str, Any]) -> Mapping[str, Any]:
        request = TraceRequest(**{name: options[name] for name in ("source", "target", "proto", "dport")})
        return why_of(request, view, apis_in(view))

    def _preview(self, view: View, path: str) -> Mapping[str, Any]:
        try:
            text = Path(path).read_bytes()
        except OSError as err:
            raise BadPolicy(f"{path}: {err.strerror or err}") from None
        for api in apis_in(view):
            found = preview(view.cluster, api.state.objects, read_policies(text))
            return preview_json(found, doubts(api, changes_any(found)))
        raise BadPolicy(NO_POLICIES)


def _why_lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield from _unsure(found)
    for one in found["flows"]:
        yield f"{one['flow']}: {one['sentence']}"
        for way in ("egress", "ingress"):
            half = one[way]
            if half["policies"]:
                does = "allows" if half["allowed"] else "denies"
                rule = f"; {half['rule']['policy']} {does} {half['rule']['text']}" if half["rule"] else ""
                yield f"    {way}: {', '.join(half['policies'])}{rule}"

    if found["left_off"]:
        yield f"{counted(found['left_off'], 'more endpoint')} not listed."


def _unsure(found: Mapping[str, Any]) -> Iterator[str]:
    for sentence in found["unsure"]:
        yield f"Not sure: {sentence}."


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield from _unsure(found)
    yield f"{counted(found['selected'], 'pod')} selected. Nothing was applied."
    yield ""
    if not found["changes"]:
        yield "No flow that was compared would be decided differently."
    for one in found["changes"]:
        ends = f"{_counted(one, 'from')} to {_counted(one, 'to')}"
        yield f"{one['becomes']:8} {ends} at {', '.join(one['ports'])} (by {', '.join(one['by']) or 'no policy'})"
    yield ""
    changed = sum(one["count"] for one in found["connections"])
    yield f"Of {counted(found['connections_seen'], 'present connection')}, {changed} would be decided differently if begun again."
    for one in found["connections"]:
        yield f"{one['becomes']:8} {one['count']:5} {one['from']} to {one['to']} at {one['port']}"


def _counted(one: Mapping[str, Any], end: str) -> str:
    pods = one[f"{end}_pods"]
    return f"{one[end]} ({pods} pod{'' if pods == 1 else 's'})" if pods else str(one[end])
