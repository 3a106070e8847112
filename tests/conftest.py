"""Fixtures that several folders of tests share."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.stack import netviz as netviz

# How long an example takes is no property of the code.
settings.register_profile("netviz", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("netviz")
