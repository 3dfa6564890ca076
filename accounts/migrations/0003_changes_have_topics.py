"""Changes that are no matter of rights: of what else every process remembers."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_audit_partitions")]

    operations = [
        migrations.AddField(
            model_name="accesschange",
            name="topic",
            field=models.CharField(blank=True, db_default="", default="", max_length=20),
        )
    ]
