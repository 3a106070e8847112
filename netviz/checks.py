"""What `manage.py check --deploy` says beyond Django's own checks."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register


@register(Tags.security, deploy=True)
def proxies_are_known(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Behind a proxy that isn't known to be one, all callers have its address."""
    if not settings.HTTPS or settings.TRUSTED_PROXIES:
        return []
    return [
        Warning(
            "NETVIZ_HTTPS is set and NETVIZ_TRUSTED_PROXIES isn't: all callers have the proxy's address, "
            "in the audit and for the limits on wrong passwords.",
            hint="Set NETVIZ_TRUSTED_PROXIES to the address or network of the proxy.",
            id="netviz.W001",
        )
    ]
