"""A published price version is a change of the topic `prices`."""

from django.db import migrations

CREATE = """
-- The clock, not the transaction's begin: a publication may take longer than the feed looks back.
CREATE FUNCTION billing_prices_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO access_changes (topic, at) VALUES ('prices', clock_timestamp());
    RETURN NULL;
END $$;
CREATE TRIGGER billing_price_versions_changed
    AFTER INSERT OR UPDATE OR DELETE ON billing_price_versions
    FOR EACH STATEMENT EXECUTE FUNCTION billing_prices_changed();
"""

DROP = """
DROP TRIGGER billing_price_versions_changed ON billing_price_versions;
DROP FUNCTION billing_prices_changed();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0024_corrections_of_cost"),
        ("accounts", "0003_changes_have_topics"),
    ]

    operations = [migrations.RunSQL(CREATE, DROP)]
