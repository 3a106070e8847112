from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("problems", "0002_webhook")]

    operations = [
        migrations.AddField(
            model_name="problem",
            name="curve",
            field=models.JSONField(
                default=list, help_text="how many pairs it affected: [Unix seconds, pairs] at each change"
            ),
        ),
    ]
