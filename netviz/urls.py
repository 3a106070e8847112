"""HTTP paths: login and admin here, the rest in the apps."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import include, path

from netviz import health
from netviz.inventory.logins import Login, admin_login
from netviz.inventory.waiting import waiting_view

admin.site.site_header = admin.site.site_title = "netviz"
admin.site.index_title = "Administration"
admin.site.enable_nav_sidebar = False  # the lists need the width
admin.site.login = admin_login  # type: ignore[method-assign, assignment]
admin.site.site_url = None  # the template has its own link to the map

urlpatterns = [
    path("login/", Login.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
    path("api/collectors/waiting", waiting_view, name="api-waiting"),
    path("healthz", health.healthz, name="healthz"),
    path("metrics", health.metrics, name="metrics"),
    path("", include("netviz.ingest.urls")),
    path("", include("netviz.topology.urls")),
    path("", include("netviz.tracing.urls")),
    path("", include("netviz.observing.urls")),
    path("", include("netviz.problems.urls")),
    path("", include("netviz.kubernetes.urls")),
]
if settings.LAB_SOCKET:
    urlpatterns.append(path("", include("netviz.demo.urls")))

handler400 = "netviz.errors.bad_request"
handler403 = "netviz.errors.denied"
handler404 = "netviz.errors.not_found"
handler500 = "netviz.errors.server_error"
