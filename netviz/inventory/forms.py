"""Forms of the admin pages."""

from __future__ import annotations

import re

from django import forms

from netviz.inventory.models import Cluster
from netviz.inventory.service import DEFAULT_CLUSTER

NODE_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


def valid_node_name(name: str) -> str:
    """Check a node's name. Raises: ValidationError."""
    name = name.strip()
    if not NODE_NAME.fullmatch(name):
        raise forms.ValidationError(
            "a node's name has 1 to 253 letters, digits, dots, dashes and underscores"
        )
    return name


class EnrolForm(forms.Form):
    """Ask for the node that a new collector is to speak for."""

    node = forms.CharField(max_length=253, help_text="the node's name, as its collector is told (--node)")
    cluster = forms.CharField(
        max_length=200, initial=DEFAULT_CLUSTER, help_text="of a node that isn't known yet"
    )
    approve = forms.BooleanField(required=False, help_text="it may connect at once")

    def clean_node(self) -> str:
        """Check the name."""
        return valid_node_name(self.cleaned_data["node"])

    def clean_cluster(self) -> str:
        """Take a known cluster's name or a new one."""
        name: str = self.cleaned_data["cluster"].strip()
        Cluster(name=name).clean_fields(exclude=["description"])
        return name
