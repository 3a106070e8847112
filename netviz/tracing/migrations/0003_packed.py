"""Keep results packed: xz instead of JSON text."""

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

from netviz.tracing.packed import pack

BATCH = 100


def pack_results(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Pack every result, a batch at a time so that memory stays small."""
    runs = apps.get_model("tracing", "TraceRun").objects.using(schema_editor.connection.alias)
    last = 0
    while batch := list(runs.filter(pk__gt=last, result__isnull=False).order_by("pk")[:BATCH]):
        for run in batch:
            run.packed = pack(run.result)
            run.packed_bytes = len(run.packed)
        runs.bulk_update(batch, ["packed", "packed_bytes"])
        last = batch[-1].pk


def unpack_results(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Write every result as JSON again."""
    from netviz.tracing.packed import unpack

    runs = apps.get_model("tracing", "TraceRun").objects.using(schema_editor.connection.alias)
    last = 0
    while batch := list(runs.filter(pk__gt=last, packed__isnull=False).order_by("pk")[:BATCH]):
        for run in batch:
            run.result = unpack(bytes(run.packed))
        runs.bulk_update(batch, ["result"])
        last = batch[-1].pk


class Migration(migrations.Migration):
    dependencies = [("tracing", "0002_claims")]

    operations = [
        migrations.AddField(
            model_name="tracerun",
            name="packed",
            field=models.BinaryField(null=True, help_text="the trace's JSON, as packed.py keeps it"),
        ),
        migrations.AddField(
            model_name="tracerun",
            name="packed_bytes",
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.RunPython(pack_results, unpack_results),
        migrations.RemoveField(model_name="tracerun", name="result"),
        migrations.AddIndex(
            model_name="tracerun",
            index=models.Index(fields=["packed_bytes"], name="tracing_tra_packed__dbbd1f_idx"),
        ),
    ]
