"""HTTP paths of topology."""

from __future__ import annotations

from django.urls import URLPattern, path

from netviz.topology import views

urlpatterns: list[URLPattern] = [
    path("", views.page, name="map"),
    path("api/topology", views.topology, name="api-topology"),
    path("api/rates", views.rates, name="api-rates"),
    path("api/search", views.search, name="api-search"),
    path("api/netns/<str:key>", views.netns, name="api-netns"),
    path("api/netns/<str:key>/match", views.match, name="api-netns-match"),
]
