"""The traces' JSON interface."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase, JsonResponse

from netviz.inventory.access import READ, TRACE, require_scope
from netviz.inventory.answers import methods, refuse
from netviz.tracing import service
from netviz.tracing.currency import shown
from netviz.tracing.models import TraceRun
from netviz.tracing.predict import CannotTrace
from netviz.tracing.request import BadRequest, as_posted, parse_request
from netviz.tracing.service import Overload
from netviz.tracing.states import live
from netviz.tracing.table import one_at_a_time, table
from netviz.tracing.tending import tender

MAX_LIST = 200


@methods("GET", "POST")
def traces(request: HttpRequest) -> HttpResponseBase:
    """List the newest traces, or start one."""
    return start(request) if request.method == "POST" else newest(request)


@require_scope(READ)
def newest(request: HttpRequest) -> HttpResponseBase:
    """List the newest traces, ?limit= of them, of ?disposition= where given."""
    text = request.GET.get("limit", "20")
    if not text.isdecimal() or not 1 <= int(text) <= MAX_LIST:
        return refuse(400, f"limit is a number from 1 to {MAX_LIST}")
    runs = TraceRun.objects.select_related("user").defer("packed")
    if disposition := request.GET.get("disposition"):
        runs = runs.filter(disposition=disposition)
    return JsonResponse({"traces": [run.summary() for run in runs[: int(text)]]})


@require_scope(TRACE)
def start(request: HttpRequest) -> HttpResponseBase:
    """Start a trace; the answer is there at once, unless the server is busy."""
    try:
        wish = parse_request(request.body)
        run = service.start(request.user, wish, as_posted(wish, request.body))
    except BadRequest as err:
        return refuse(400, str(err))
    except CannotTrace as err:
        if tender.awaits_collectors:
            return refuse(
                503, f"the server has just started and waits for its collectors: {err}", Retry_After="2"
            )
        return refuse(400, str(err))
    except Overload as err:
        return refuse(503, str(err), Retry_After="2")
    return JsonResponse(shown(run), status=202)


@methods("POST")
@require_scope(TRACE)
def trace_table(request: HttpRequest) -> HttpResponseBase:
    """Answer with a row for each pair of pods that the ends of a request stand for; none is kept."""
    if not one_at_a_time.acquire(blocking=False):
        return refuse(503, "another table is being traced; try again in a few seconds", Retry_After="2")
    try:
        return JsonResponse(table(parse_request(request.body), live()))
    except (BadRequest, CannotTrace) as err:
        return refuse(400, str(err))
    finally:
        one_at_a_time.release()


@methods("GET")
@require_scope(READ)
def trace(request: HttpRequest, trace_id: str) -> HttpResponseBase:
    """Answer with one trace."""
    run = find(trace_id)
    return JsonResponse(shown(run)) if run is not None else refuse(404, f"there is no trace {trace_id}")


def find(trace_id: str) -> TraceRun | None:
    """Find a trace by the id of its address."""
    if not trace_id.isascii() or not trace_id.isdecimal() or len(trace_id) > 18:
        return None
    return TraceRun.objects.select_related("user").filter(pk=int(trace_id)).first()
