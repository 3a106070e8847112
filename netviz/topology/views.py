"""The page, the graph, the search and the inspector's detail."""

from __future__ import annotations

import msgspec
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.staticfiles import finders
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe

from netviz.core.model.ids import NetnsKey
from netviz.ingest.live_store import get_store
from netviz.ingest.looks import MOST_NODES, look_into
from netviz.inventory.access import READ, require_scope, role_of
from netviz.inventory.answers import methods, of_namespace, refuse
from netviz.topology.detail import netns_detail
from netviz.topology.live import filtered, get_topology
from netviz.topology.matching import netns_match
from netviz.topology.rates import get_rates
from netviz.topology.search.finder import LIMIT, as_json, get_finder

_encode = msgspec.json.Encoder().encode
MOST_HITS = 200
BUNDLE = ("dist/app.js", "dist/app.css")


@require_safe
@login_required
@ensure_csrf_cookie
def page(request: HttpRequest) -> HttpResponse:
    """Show the map: a shell that the bundle fills."""
    role = role_of(request.user)
    missing = [name for name in BUNDLE if finders.find(name) is None]
    switches = {"observe": settings.OBSERVE, "lab": bool(settings.LAB_SOCKET)}
    context = {"role": role, **switches, "missing": missing}
    get_finder().warm()
    return render(request, "topology/map.html", context, status=200 if role else 403)


@methods("GET")
@require_scope(READ)
def topology(request: HttpRequest) -> HttpResponse:
    """Answer with the graph, cut to ?node= and ?pod=."""
    node, pod = request.GET.get("node", ""), request.GET.get("pod", "")
    revision, graph = get_topology().graph(node, pod)
    lists = filtered(graph, node, pod)
    return HttpResponse(_encode({"revision": revision, **lists}), content_type="application/json")


@methods("GET")
@require_scope(READ)
def search(request: HttpRequest) -> HttpResponseBase:
    """Answer with what has ?q= in its name or one of its addresses, the best first; at most ?limit=."""
    limit = request.GET.get("limit", str(LIMIT))
    if not limit.isascii() or not limit.isdigit() or not 0 < int(limit) <= MOST_HITS:
        return refuse(400, f"limit is a number from 1 to {MOST_HITS}")
    found = get_finder().find(request.GET.get("q", ""), int(limit))
    return HttpResponse(_encode(as_json(found)), content_type="application/json")


@methods("GET")
@require_scope(READ)
def rates(request: HttpRequest) -> HttpResponseBase:
    """Answer with what the links of ?nodes=A,B carry, and have their counters read more often for as long as somebody asks."""
    names = list(dict.fromkeys(filter(None, request.GET.get("nodes", "").split(","))))
    if not names or len(names) > MOST_NODES:
        return refuse(400, f"?nodes=A,B names 1 to {MOST_NODES} nodes")
    return HttpResponse(_encode({"nodes": get_rates().of(names)}), content_type="application/json")


@methods("GET")
@require_scope(READ)
@of_namespace
def netns(request: HttpRequest, wanted: NetnsKey) -> HttpResponseBase:
    """Answer with all that is known of one namespace, and have it read closely for as long as somebody asks."""
    detail = netns_detail(get_store().cluster(), wanted)
    if detail is None:
        return refuse(404, f"there is no namespace {wanted}")
    look_into(wanted)
    return HttpResponse(_encode(detail), content_type="application/json")


@methods("GET")
@require_scope(READ)
@of_namespace
def match(request: HttpRequest, wanted: NetnsKey) -> HttpResponseBase:
    """Answer with what of a namespace's tables ?addr= meets: an address or a MAC."""
    try:
        found = netns_match(get_store().cluster(), wanted, request.GET.get("addr", ""))
    except ValueError:
        return refuse(400, "addr is an address or a MAC")
    if found is None:
        return refuse(404, f"there is no namespace {wanted}")
    return HttpResponse(_encode(found), content_type="application/json")
