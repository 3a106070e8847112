"""The observations' JSON interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse

from netviz.core.model.ids import NetnsKey
from netviz.core.plain import plain
from netviz.ingest.looks import look_into
from netviz.inventory import audit
from netviz.inventory.access import OBSERVE, READ, require_scope
from netviz.inventory.answers import methods, of_namespace, refuse
from netviz.observing import captures, drops, service
from netviz.observing.connections import connections_json
from netviz.observing.models import Observation
from netviz.observing.queue import shown
from netviz.observing.request import parse_request
from netviz.observing.service import SwitchedOff
from netviz.observing.text import capture_lines, drop_lines, markdown_of, ticket_lines
from netviz.tracing.predict import CannotTrace
from netviz.tracing.request import BadRequest, as_posted
from netviz.tracing.service import Overload
from netviz.tracing.states import live

MAX_LIST = 200
FORMS = {"text": "text/plain", "markdown": "text/markdown", "json": "application/json"}
SUFFIXES = {"text": "txt", "markdown": "md", "json": "json"}


@methods("GET", "POST")
def observations(request: HttpRequest) -> HttpResponseBase:
    """List the newest observations, or begin one."""
    return start(request) if request.method == "POST" else newest(request)


@require_scope(READ)
def newest(request: HttpRequest) -> HttpResponseBase:
    """List the newest observations, ?limit= of them."""
    text = request.GET.get("limit", "20")
    if not text.isdecimal() or not 1 <= int(text) <= MAX_LIST:
        return refuse(400, f"limit is a number from 1 to {MAX_LIST}")
    found = Observation.objects.select_related("user").defer("packed", "kept")[: int(text)]
    return JsonResponse({"observations": [one.summary() for one in found]})


@require_scope(OBSERVE)
def start(request: HttpRequest) -> HttpResponseBase:
    """Send a probe, or queue it behind others on the same nodes."""
    return _begun(lambda: _probe(request))


def _probe(request: HttpRequest) -> Observation:
    wish = parse_request(request.body)
    return service.start(request.user, wish, as_posted(wish, request.body))


@methods("GET")
@require_scope(READ)
@of_namespace
def connections(request: HttpRequest, wanted: NetnsKey) -> HttpResponseBase:
    """Answer with the connections that a namespace has now."""
    found = connections_json(live(), wanted)
    if found is None:
        return refuse(404, f"there is no namespace {wanted}")
    look_into(wanted)
    return JsonResponse(found)


@methods("POST")
@require_scope(OBSERVE)
def drop_watch(request: HttpRequest) -> HttpResponseBase:
    """Begin to watch a node's drops, or queue that; it is followed as any observation."""
    return _begun(lambda: _watch_drops(request))


def _watch_drops(request: HttpRequest) -> Observation:
    wish = drops.parse_request(request.body)
    return service.watch_drops(request.user, wish, msgspec.to_builtins(wish))


@methods("POST")
@require_scope(OBSERVE)
def new_capture(request: HttpRequest) -> HttpResponseBase:
    """Begin to capture, or queue that; it is followed as any observation."""
    return _begun(lambda: service.capture(request.user, captures.parse_request(request.body)))


@methods("GET", "DELETE")
@require_scope(OBSERVE)
def capture(request: HttpRequest, observation_id: str) -> HttpResponseBase:
    """Answer with a capture's file, as far as it is there; DELETE stops it, or removes the file."""
    found = find(observation_id)
    if found is None or found.kind != Observation.Kind.CAPTURE:
        return refuse(404, f"there is no capture {observation_id}")
    if request.method == "DELETE":
        captures.stop(found)
        audit.record("capture.stop", found, id=str(found.pk))
        return HttpResponse(status=204)
    data = captures.file_of(found)
    if data is None:
        return refuse(404, f"there is no file of capture {observation_id}: it is kept for a day")
    if request.method == "GET":
        audit.record("capture.download", found, id=str(found.pk))
    response = HttpResponse(data, content_type="application/x-pcapng")
    response["Content-Disposition"] = f'attachment; filename="capture-{found.pk}.pcapng"'
    return response


def _begun(begin: Callable[[], Observation]) -> HttpResponseBase:
    """Answer with what was begun, or with why it wasn't."""
    try:
        found = begin()
    except (BadRequest, CannotTrace) as err:
        return refuse(400, str(err))
    except SwitchedOff as err:
        return refuse(403, str(err))
    except Overload as err:
        return refuse(503, str(err), Retry_After="2")
    return JsonResponse(shown(found), status=202)


@methods("GET")
@require_scope(READ)
def observation(request: HttpRequest, observation_id: str) -> HttpResponseBase:
    """Answer with one observation."""
    found = find(observation_id)
    return JsonResponse(shown(found)) if found else refuse(404, f"there is no observation {observation_id}")


@methods("GET")
@require_scope(OBSERVE)
def file_of(request: HttpRequest, observation_id: str) -> HttpResponseBase:
    """Answer with the file of an observation that differs: its states and what was seen, for `manage.py trace --state`."""
    found = find(observation_id)
    if found is None or found.kept is None:
        return refuse(404, f"there is no file of an observation {observation_id}")
    response = HttpResponse(bytes(found.kept), content_type="application/octet-stream")
    response["Content-Disposition"] = f'attachment; filename="observation-{found.pk}.nvz"'
    return response


@methods("GET")
@require_scope(READ)
def exported(request: HttpRequest, observation_id: str) -> HttpResponseBase:
    """Answer with one observation to be pasted or kept: ?as=text, markdown or json, with the page that shows it."""
    found = find(observation_id)
    form = request.GET.get("as", "text")
    if form not in FORMS:
        return refuse(400, f"as is {', '.join(FORMS)}")
    if found is None:
        return refuse(404, f"there is no observation {observation_id}")
    if found.kind != Observation.Kind.PROBE and form == "markdown":
        return refuse(400, "only a probe is exported as markdown")
    page = link_of(found.pk) if found.kind == Observation.Kind.PROBE else ""
    said, link = shown(found), request.build_absolute_uri(f"/{page}")
    if form == "json":
        response: HttpResponse = JsonResponse({**said, "link": link}, json_dumps_params={"indent": 2})
    else:
        lines = _lines(said, form)
        text = "\n".join([*map(plain, lines), "", link, ""])
        response = HttpResponse(text, content_type=f"{FORMS[form]}; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="observation-{found.pk}.{SUFFIXES[form]}"'
    return response


def _lines(said: dict[str, Any], form: str) -> Iterator[str]:
    if said["kind"] == Observation.Kind.DROPS:
        return drop_lines(said)
    if said["kind"] == Observation.Kind.CAPTURE:
        return capture_lines(said)
    return ticket_lines(said) if form == "text" else markdown_of(said)


def link_of(pk: int) -> str:
    """The page's address of an observation, below the server's."""
    return f"#/trace/observation-{pk}?observation={pk}&show=both"


def find(observation_id: str) -> Observation | None:
    """Find an observation by the id of its address."""
    if not observation_id.isascii() or not observation_id.isdecimal() or len(observation_id) > 18:
        return None
    return Observation.objects.select_related("user").defer("kept").filter(pk=int(observation_id)).first()
