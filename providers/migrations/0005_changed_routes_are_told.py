"""Whatever decides how a call is routed is, when it changes, a change of the topic `routes`.

Triggers write it, one row for each home that a statement touched: no writer can forget it. The
time is the clock's, not the transaction's begin.
"""

from django.db import migrations

FUNCTIONS = """
CREATE FUNCTION routes_of_homes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO access_changes (topic, user_id, workspace_id, organization_id, at)
    SELECT DISTINCT 'routes',
        CASE WHEN scope = 'user' THEN owner_id END,
        CASE WHEN scope = 'workspace' THEN workspace_id END,
        CASE WHEN scope = 'organization' THEN organization_id END,
        clock_timestamp()
    FROM changed;
    RETURN NULL;
END $$;

CREATE FUNCTION routes_of_providers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO access_changes (topic, user_id, workspace_id, organization_id, at)
    SELECT DISTINCT 'routes',
        CASE WHEN p.scope = 'user' THEN p.owner_id END,
        CASE WHEN p.scope = 'workspace' THEN p.workspace_id END,
        CASE WHEN p.scope = 'organization' THEN p.organization_id END,
        clock_timestamp()
    FROM changed c JOIN providers p ON p.id = c.provider_id;
    RETURN NULL;
END $$;

-- What is noted each minute of a healthy model is no change.
CREATE FUNCTION routes_of_health() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO access_changes (topic, user_id, workspace_id, organization_id, at)
    SELECT DISTINCT 'routes',
        CASE WHEN p.scope = 'user' THEN p.owner_id END,
        CASE WHEN p.scope = 'workspace' THEN p.workspace_id END,
        CASE WHEN p.scope = 'organization' THEN p.organization_id END,
        clock_timestamp()
    FROM changed c
    JOIN before b ON b.id = c.id
    JOIN providers p ON p.id = c.provider_id
    WHERE (c.state, c.until) IS DISTINCT FROM (b.state, b.until);
    RETURN NULL;
END $$;

CREATE FUNCTION routes_of_aliases() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO access_changes (topic, user_id, workspace_id, organization_id, at)
    SELECT DISTINCT 'routes',
        CASE WHEN a.scope = 'user' THEN a.owner_id END,
        CASE WHEN a.scope = 'workspace' THEN a.workspace_id END,
        CASE WHEN a.scope = 'organization' THEN a.organization_id END,
        clock_timestamp()
    FROM changed c JOIN model_aliases a ON a.id = c.alias_id;
    RETURN NULL;
END $$;

CREATE FUNCTION routes_of_all() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO access_changes (topic, at) VALUES ('routes', clock_timestamp());
    RETURN NULL;
END $$;
"""

_TABLES = {
    "providers": "routes_of_homes",
    "model_aliases": "routes_of_homes",
    "provider_models": "routes_of_providers",
    "alias_targets": "routes_of_aliases",
}
# A row that moves to another home is a change of both: the old rows are looked at, too.
_EVENTS = {
    "added": "AFTER INSERT ON {table} REFERENCING NEW TABLE AS changed",
    "changed": "AFTER UPDATE ON {table} REFERENCING NEW TABLE AS changed",
    "was": "AFTER UPDATE ON {table} REFERENCING OLD TABLE AS changed",
    "removed": "AFTER DELETE ON {table} REFERENCING OLD TABLE AS changed",
}
_EACH = [
    (f"{table}_routes_{name}", table, event.format(table=table), function)
    for table, function in _TABLES.items()
    for name, event in _EVENTS.items()
]
_HEALTH = "provider_health"
_EACH += [
    (
        f"{_HEALTH}_routes_{name}",
        _HEALTH,
        _EVENTS[name].format(table=_HEALTH),
        "routes_of_providers",
    )
    for name in ("added", "removed")
]
_EACH += [
    (
        f"{_HEALTH}_routes_changed",
        _HEALTH,
        f"AFTER UPDATE ON {_HEALTH} REFERENCING OLD TABLE AS before NEW TABLE AS changed",
        "routes_of_health",
    ),
    (
        "catalogue_models_routes_changed",
        "catalogue_models",
        "AFTER INSERT OR UPDATE OR DELETE ON catalogue_models",
        "routes_of_all",
    ),
]
CREATE = FUNCTIONS + "".join(
    f"CREATE TRIGGER {name} {event} FOR EACH STATEMENT EXECUTE FUNCTION {function}();\n"
    for name, _, event, function in _EACH
)
DROP = "".join(f"DROP TRIGGER {name} ON {table};\n" for name, table, _, _ in _EACH) + """
DROP FUNCTION routes_of_homes();
DROP FUNCTION routes_of_providers();
DROP FUNCTION routes_of_health();
DROP FUNCTION routes_of_aliases();
DROP FUNCTION routes_of_all();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("providers", "0004_gateway_exchanges"),
        ("accounts", "0003_changes_have_topics"),
    ]

    operations = [migrations.RunSQL(CREATE, DROP)]
