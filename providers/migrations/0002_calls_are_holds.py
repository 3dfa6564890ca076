"""A dispatched call is a hold now: one row keeps its money and its journal."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("providers", "0001_provider_accounts"),
        ("billing", "0008_settle"),
    ]

    operations = [migrations.DeleteModel("ProviderCall")]
