"""What becomes of users, groups, tokens, collectors, nodes and clusters goes to the audit by itself.

By whatever way it is done: the admin's forms, a command, Django's own commands. What is done by a
conditional update (approve, revoke) is recorded where that is.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db.models import Model
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete, pre_save

from netviz.inventory.audit import record
from netviz.inventory.models import ApiToken, Cluster, Collector, Node

NAMES: dict[type[Model], str] = {
    get_user_model(): "user",
    Group: "group",
    ApiToken: "token",
    Collector: "collector",
    Node: "node",
    Cluster: "cluster",
}
ADDING: dict[type[Model], str] = {Collector: "enrol"}
SECRET = frozenset({"password", "token_hash"})
UNNOTED = frozenset({"id", "last_login", "date_joined", "created_at", "enrolled_at"})


def _fields(instance: Model) -> dict[str, str]:
    """What an object says of itself, as text; secrets stay in here."""
    return {
        field.name: str(field.value_from_object(instance))
        for field in instance._meta.concrete_fields
        if field.name not in UNNOTED and not field.is_relation
    }


def _before_save(sender: type[Model], instance: Model, update_fields: Any = None, **kwargs: Any) -> None:
    """Remember what was there."""
    before = None
    if instance.pk is not None and (update_fields is None or set(update_fields) - UNNOTED):
        before = sender._default_manager.filter(pk=instance.pk).first()
    instance.__dict__["_audit_before"] = None if before is None else _fields(before)


def _saved(sender: type[Model], instance: Model, created: bool, **kwargs: Any) -> None:
    name, now, before = NAMES[sender], _fields(instance), instance.__dict__.pop("_audit_before", None)
    if created:
        asked = {field.name for field in instance._meta.concrete_fields if field.editable} - SECRET
        said: dict[str, Any] = {key: now[key] for key in now if key in asked and now[key] not in ("", "None")}
        record(f"{name}.{ADDING.get(sender, 'add')}", instance, **said)
    elif before is not None:
        changed = {key: [before[key], now[key]] for key in now if before[key] != now[key]}
        shown: dict[str, Any] = {key: "changed" if key in SECRET else pair for key, pair in changed.items()}
        if shown:
            record(f"{name}.change", instance, **shown)


def _before_delete(sender: type[Model], instance: Model, **kwargs: Any) -> None:
    """Remember the name: what it is made of may be gone before the object is."""
    instance.__dict__["_audit_name"] = str(instance)


def _deleted(sender: type[Model], instance: Model, **kwargs: Any) -> None:
    record(f"{NAMES[sender]}.delete", instance.__dict__.pop("_audit_name"))


def _relation_changed(
    sender: Any, instance: Model, action: str, model: type[Model], pk_set: Any, **kwargs: Any
) -> None:
    """Members and permissions, from either end."""
    how = {"post_add": "added", "post_remove": "removed", "pre_clear": "removed"}.get(action)
    if how is None or pk_set == set():
        return
    if pk_set is None:
        relation = next(
            field for field in instance._meta.many_to_many if field.remote_field.through is sender
        )
        others = getattr(instance, relation.name).all()
    else:
        others = model._default_manager.filter(pk__in=pk_set)
    names = sorted(str(other) for other in others)
    if names:
        detail: dict[str, Any] = {f"{model._meta.verbose_name_plural} {how}": names}
        record(f"{NAMES[type(instance)]}.change", instance, **detail)


def connect() -> None:
    """Listen, once."""
    for model, name in NAMES.items():
        pre_save.connect(_before_save, sender=model, dispatch_uid=f"audit.before.{name}")
        post_save.connect(_saved, sender=model, dispatch_uid=f"audit.saved.{name}")
        pre_delete.connect(_before_delete, sender=model, dispatch_uid=f"audit.before_delete.{name}")
        post_delete.connect(_deleted, sender=model, dispatch_uid=f"audit.deleted.{name}")
    user = get_user_model()
    for through in (user.groups.through, user.user_permissions.through, Group.permissions.through):
        m2m_changed.connect(_relation_changed, sender=through, dispatch_uid=f"audit.{through.__name__}")
