from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("inventory", "0006_cluster_collectors")]

    operations = [
        migrations.AddField(
            model_name="collector",
            name="clock_s",
            field=models.FloatField(
                null=True,
                editable=False,
                help_text="how far its clock is ahead of the server's, less the way of what it said",
            ),
        ),
    ]
