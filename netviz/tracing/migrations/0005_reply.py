from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tracing", "0004_outcome")]

    operations = [
        migrations.AddField(
            model_name="tracerun",
            name="reason",
            field=models.CharField(blank=True, help_text="the kernel's name for it", max_length=64),
        ),
        migrations.AddField(
            model_name="tracerun",
            name="reply",
            field=models.CharField(
                blank=True, help_text="the return's dispositions, of all branches", max_length=64
            ),
        ),
    ]
