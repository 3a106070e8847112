"""The groups that roles are, with the permissions that the admin pages ask for."""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

ROLES = ("viewer", "operator", "administrator")
MANAGED = (
    ("inventory", "cluster"),
    ("inventory", "node"),
    ("inventory", "collector"),
    ("inventory", "apitoken"),
    ("ingest", "journalentry"),
    ("tracing", "tracerun"),
    ("auth", "user"),
    ("auth", "group"),
)


def make_roles(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    Group = apps.get_model("auth", "Group")
    Permission = apps.get_model("auth", "Permission")
    ContentType = apps.get_model("contenttypes", "ContentType")
    groups = {role: Group.objects.get_or_create(name=role)[0] for role in ROLES}
    for app, model in MANAGED:
        content_type, _ = ContentType.objects.get_or_create(app_label=app, model=model)
        for action in ("view", "add", "change", "delete"):
            # Django makes these after all migrations; it keeps those that it finds.
            permission, _ = Permission.objects.get_or_create(
                content_type=content_type,
                codename=f"{action}_{model}",
                defaults={"name": f"Can {action} {model}"},
            )
            groups["administrator"].permissions.add(permission)
            if action == "view" and app != "auth" and model != "apitoken":
                groups["viewer"].permissions.add(permission)
                groups["operator"].permissions.add(permission)


def drop_roles(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("auth", "Group").objects.filter(name__in=ROLES).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("inventory", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [migrations.RunPython(make_roles, drop_roles)]
