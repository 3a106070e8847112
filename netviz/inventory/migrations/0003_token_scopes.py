"""API tokens get scopes and an end. Those that exist keep what they could do: all of their user's role."""

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

SCOPES_OF = {
    "viewer": ["read"],
    "operator": ["read", "trace", "observe"],
    "administrator": ["read", "trace", "observe", "administer"],
}


def give_scopes(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for token in apps.get_model("inventory", "ApiToken").objects.select_related("user"):
        held = set(token.user.groups.values_list("name", flat=True))
        if token.user.is_superuser:
            held.add("administrator")
        token.scopes = max((SCOPES_OF[role] for role in held & SCOPES_OF.keys()), key=len, default=[])
        token.save(update_fields=["scopes"])


class Migration(migrations.Migration):
    dependencies = [("inventory", "0002_roles")]
    operations = [
        migrations.AddField(
            model_name="apitoken",
            name="scopes",
            field=models.JSONField(default=list, help_text="what it may do, within its user's role"),
        ),
        migrations.AddField(
            model_name="apitoken",
            name="expires_at",
            field=models.DateTimeField(blank=True, help_text="never, if left empty", null=True, verbose_name="ends"),
        ),
        migrations.RunPython(give_scopes, migrations.RunPython.noop),
    ]
