"""The observations' JSON interface."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse

from netviz.inventory.access import OBSERVE, READ, require_scope
from netviz.inventory.answers import methods, refuse
from netviz.observing import service
from netviz.observing.models import Observation
from netviz.observing.queue import shown
from netviz.observing.request import parse_request
from netviz.observing.service import SwitchedOff
from netviz.tracing.predict import CannotTrace
from netviz.tracing.request import BadRequest, as_posted
from netviz.tracing.service import Overload

MAX_LIST = 200


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
    """Begin an observation, or queue it behind others on the same nodes."""
    try:
        wish = parse_request(request.body)
        found = service.start(request.user, wish, as_posted(wish, request.body))
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


def find(observation_id: str) -> Observation | None:
    """Find an observation by the id of its address."""
    if not observation_id.isascii() or not observation_id.isdecimal() or len(observation_id) > 18:
        return None
    return Observation.objects.select_related("user").defer("kept").filter(pk=int(observation_id)).first()
