"""Forms of the admin pages."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.utils import timezone

from netviz.inventory.access import READ, SCOPES, lacking
from netviz.inventory.generic import ModelForm
from netviz.inventory.models import ApiToken, Cluster, valid_node_name
from netviz.inventory.service import DEFAULT_CLUSTER


class EnrolForm(forms.Form):
    """Ask for the node that a new collector is to speak for."""

    node = forms.CharField(
        max_length=253,
        validators=[valid_node_name],
        help_text="the node's name, as its collector is told (--node)",
    )
    cluster = forms.CharField(
        max_length=200, initial=DEFAULT_CLUSTER, help_text="of a node that isn't known yet"
    )
    approve = forms.BooleanField(required=False, help_text="it may connect at once")

    def clean_cluster(self) -> str:
        """Take a known cluster's name or a new one."""
        name: str = self.cleaned_data["cluster"].strip()
        Cluster(name=name).clean_fields(exclude=["description"])
        return name


class ApiTokenForm(ModelForm[ApiToken]):
    """Ask whose a new API token is, what it may do, and until when."""

    scopes = forms.MultipleChoiceField(
        choices=[(scope, f"{scope} (needs the role {role})") for scope, role in SCOPES.items()],
        initial=[READ],
        widget=forms.CheckboxSelectMultiple,
        help_text="what it may do, within its user's role",
    )

    class Meta:
        model = ApiToken
        fields = ("user", "name", "scopes", "expires_at")

    def clean_expires_at(self) -> datetime | None:
        """Take a moment to come."""
        moment: datetime | None = self.cleaned_data["expires_at"]
        if moment is not None and moment <= timezone.now():
            raise forms.ValidationError("this is in the past")
        return moment

    def clean(self) -> dict[str, Any]:
        """Check that the user has what the token is to have."""
        values: dict[str, Any] = super().clean() or {}
        user, scopes = values.get("user"), values.get("scopes")
        if user is not None and scopes:
            excess = [scope for scope in scopes if lacking(user, None, scope)]
            if excess:
                self.add_error("scopes", f"{user}'s role doesn't have: {', '.join(excess)}")
        return values
