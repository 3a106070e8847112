"""Forms of the admin pages."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from django import forms
from django.utils import timezone

from netviz.inventory.access import READ, SCOPES, lacking
from netviz.inventory.generic import ModelForm
from netviz.inventory.models import ApiToken, Cluster, valid_node_name
from netviz.inventory.service import DEFAULT_CLUSTER

MOST_NODES = 200
# worker-[1-20]
_RANGE = re.compile(r"(.*)\[(\d{1,6})-(\d{1,6})\](.*)", re.ASCII | re.DOTALL)


def node_names(text: str) -> list[str]:
    """Read the names of nodes: one a line, or with blanks or commas between; `worker-[1-20]` is twenty.

    Raises: ValidationError for a name that no node can have, and for more than MOST_NODES.
    """
    names: dict[str, None] = {}
    for word in re.split(r"[\s,]+", text.strip()):
        found = _RANGE.fullmatch(word)
        numbers = range(int(found[2]), int(found[3]) + 1) if found else range(1)
        if not numbers:
            raise forms.ValidationError(f"{word} has no numbers in it: the first is above the last")
        if len(names) + len(numbers) > MOST_NODES:
            raise forms.ValidationError(f"at most {MOST_NODES} nodes at once")
        for number in numbers:
            name = f"{found[1]}{number:0{len(found[2])}}{found[4]}" if found else word
            valid_node_name(name)
            names[name] = None
    return list(names)


class EnrolForm(forms.Form):
    """Ask for the nodes that new collectors are to speak for. `cleaned_data["node"]` is a list of names."""

    node = forms.CharField(
        label="Nodes",
        max_length=50_000,
        widget=forms.Textarea(attrs={"rows": 3, "cols": 40, "autofocus": True}),
        strip=False,
        help_text="one name a line, as each collector is told it (--node); worker-[1-20] is twenty of them",
    )
    cluster = forms.CharField(
        max_length=200, initial=DEFAULT_CLUSTER, help_text="of nodes that aren't known yet"
    )
    approve = forms.BooleanField(
        required=False,
        initial=True,
        label="Approve now",
        help_text="else it waits until an administrator approves it",
    )

    def clean_node(self) -> list[str]:
        """Read the names."""
        return node_names(self.cleaned_data["node"])

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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Name the two fields of the moment, which have one label."""
        super().__init__(*args, **kwargs)
        field = self.fields.get("expires_at")  # a token that was made is only shown
        if field is not None and isinstance(moment := field.widget, forms.MultiWidget):
            for widget, part in zip(moment.widgets, ("date", "time"), strict=True):
                widget.attrs["aria-label"] = f"Ends: {part}"

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
