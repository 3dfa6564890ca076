"""Provider accounts over REST: what clients see, and what they never see."""

from __future__ import annotations

import json
import time

import pytest
from django.db import connection

from accounts.models import SecretRecord
from billing.models import ProviderCard
from ideplatform.kit import redis
from ideplatform.outbox.models import Fact
from providers import tasks
from providers.models import Provider
from providers.services import health
from tests.factories import a_user, a_workspace
from tests.providers.builders import base_url
from tests.providers.rest import Caller

pytestmark = pytest.mark.django_db
KEY = "sk-very-secret-key-9876"
HERE = {"base_url": base_url("openai_compatible")}
NEW = {"name": "Casa São Luís", "type": "openai_compatible", "config": HERE, "api_key": KEY}


@pytest.fixture
def caller():
    return Caller(a_user())


def _created(caller, **values):
    answer = caller.send("POST", "", NEW | values)
    assert answer.status_code == 201, answer.content
    return answer.json()


def _pointers(answer):
    return sorted(fault["pointer"] for fault in answer.json()["errors"])


def _held(key) -> bytes | None:
    """What the cache keeps under a key."""
    value = redis.client("cache").get(key)
    assert not isinstance(value, str)
    return value


def _dump():
    """Every row of every table as text."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace"
        )
        tables = [name for (name,) in cursor.fetchall()]
        rows = []
        for table in tables:
            cursor.execute(f'SELECT to_jsonb(t)::text FROM "{table}" t')
            rows += [text for (text,) in cursor.fetchall()]
    return "\n".join(rows)


def test_a_new_account_is_the_caller_s_own_and_shows_no_key(caller):
    answer = caller.send("POST", "", NEW)
    body = answer.json()
    assert answer.status_code == 201
    assert answer["ETag"] == '"v1"'
    assert (body["slug"], body["scope"], body["billing_mode"]) == ("casa-sao-luis", "user", "byok")
    assert (body["key_present"], body["key_hint"]) == (True, "9876")
    assert body["public_id"].startswith("prv_")
    assert KEY not in answer.content.decode()
    row = Provider.objects.get(pk=body["id"])
    assert ProviderCard.objects.get(provider_id=row.pk).name == "Casa São Luís"
    assert Fact.objects.filter(topic="provider.changed", key=body["id"]).count() == 1


def test_both_forms_of_the_id_find_the_account(caller):
    body = _created(caller)
    for key in (body["id"], body["public_id"]):
        assert caller.send("GET", f"/{key}").json()["id"] == body["id"]


def test_no_key_lies_in_any_row_answer_or_redis_entry(caller):
    body = _created(caller)
    caller.send("PUT", f"/{body['id']}", {"api_key": "sk-another-secret-5432"})
    answers = [caller.send("GET", path) for path in ("", f"/{body['id']}", "/models", "/aliases")]
    text = "\n".join([*(answer.content.decode() for answer in answers), _dump()])
    held = b"".join(_held(key) or b"" for key in redis.client("cache").scan_iter("cache:*"))
    for secret in (KEY, "sk-another-secret-5432"):
        assert secret not in text
        assert secret.encode() not in held


def test_an_account_is_saved_though_nobody_answers_there(caller):
    body = _created(caller, config={"base_url": "https://unreachable.invalid/v1"})
    assert body["health"] == []


@pytest.mark.parametrize(
    ("change", "pointers"),
    [
        ({"type": "clairvoyance"}, ["/type"]),
        ({"colour": "blue"}, ["/colour"]),
        ({"api_key": "with space"}, ["/api_key"]),
        ({"api_key": "line\nbreak"}, ["/api_key"]),
        ({"slug": "Not A Slug"}, ["/slug"]),
        ({"config": {"base_url": "http://127.1:80"}}, ["/config/base_url"]),
        ({"config": {"headers": {"X-Api-Key": "k"}}}, ["/config/headers/X-Api-Key"]),
        ({"config": "https://x.test"}, ["/config"]),
        ({"billing_mode": "platform"}, ["/billing_mode"]),
        ({"scope": "workspace"}, ["/workspace_id"]),
        ({"organization_id": "0190a8b0-0000-7000-8000-000000000000"}, ["/organization_id"]),
        ({"name": ""}, ["/name"]),
        ({"name": "nul\x00l"}, ["/name"]),
    ],
)
def test_bad_input_is_pointed_at_and_changes_nothing(caller, change, pointers):
    answer = caller.send("POST", "", NEW | change)
    assert answer.status_code in {400, 422}, answer.content
    if answer.status_code == 422 and "errors" in answer.json():
        assert _pointers(answer) == pointers
    assert Provider.objects.count() == 0
    assert SecretRecord.objects.count() == 0


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest",
        "http://127.0.0.1:22/v1",
        "http://10.0.0.8/v1",
        "http://[::1]:80/v1",
        "http://[::ffff:169.254.169.254]/v1",
        "http://2130706433/v1",
        "http://0x7f.1/v1",
        "http://0/v1",
    ],
)
def test_closed_addresses_are_not_saved(caller, address):
    answer = caller.send("POST", "", NEW | {"config": {"base_url": address}})
    assert answer.status_code == 422
    assert _pointers(answer) == ["/config/base_url"]
    body = _created(caller)
    moved = {"config": {"base_url": address}, "api_key": KEY}
    assert caller.send("PUT", f"/{body['id']}", moved).status_code == 422
    assert Provider.objects.get().config == HERE


def test_a_taken_slug_is_a_conflict(caller):
    _created(caller)
    answer = caller.send("POST", "", NEW)
    assert (answer.status_code, answer.json()["code"]) == (409, "provider_name_taken")
    assert Provider.objects.count() == 1
    assert SecretRecord.objects.count() == 1


def test_a_change_counts_the_version_and_a_stale_one_is_refused(caller):
    body = _created(caller)
    answer = caller.send("PUT", f"/{body['id']}", {"name": "Second"}, If_Match='"v1"')
    assert (answer["ETag"], answer.json()["name"]) == ('"v2"', "Second")
    stale = caller.send("PUT", f"/{body['id']}", {"name": "Third"}, If_Match='"v1"')
    assert (stale.status_code, stale.json()["current"]) == (409, {"version": 2, "name": "Second"})
    assert caller.send("GET", f"/{body['id']}").json()["name"] == "Second"
    last = caller.send("PUT", f"/{body['id']}", {"name": "Fourth"})
    assert last.json()["version"] == 3
    assert caller.send("PUT", f"/{body['id']}", {}, If_Match="v3").status_code == 400


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"base_url": "https://elsewhere.example/v1"}},
        {"type": "openai"},
        {"type": "openai", "config": {}},
    ],
)
def test_no_new_address_gets_an_old_key(caller, change):
    body = _created(caller)
    refused = caller.send("PUT", f"/{body['id']}", change)
    assert (refused.status_code, refused.json()["code"]) == (422, "provider_key_required")
    assert _pointers(refused) == ["/api_key"]
    row = Provider.objects.get()
    assert (row.type, row.config, row.version) == ("openai_compatible", HERE, 1)
    former = row.secret_id
    taken = caller.send("PUT", f"/{body['id']}", change | {"api_key": "sk-for-the-new-one-1"})
    assert taken.status_code == 200
    row.refresh_from_db()
    assert row.secret_id != former
    assert SecretRecord.objects.count() == 1


def test_a_key_is_kept_replaced_and_removed(caller):
    body = _created(caller)
    former = Provider.objects.get().secret_id
    caller.send("PUT", f"/{body['id']}", {"name": "Kept"})
    assert Provider.objects.get().secret_id == former
    replaced = caller.send("PUT", f"/{body['id']}", {"api_key": "sk-the-second-key-1111"})
    assert replaced.json()["key_hint"] == "1111"
    assert Provider.objects.get().secret_id != former
    removed = caller.send("PUT", f"/{body['id']}", {"api_key": None})
    assert (removed.json()["key_present"], removed.json()["key_hint"]) == (False, "")
    assert SecretRecord.objects.count() == 0


def test_a_new_key_ends_the_verdict_about_the_old_one(caller):
    body = _created(caller)
    row = Provider.objects.get()
    row.health.create(model=health.KEY, state="key_invalid")
    assert caller.send("GET", f"/{body['id']}").json()["health"][0]["state"] == "key_invalid"
    caller.send("PUT", f"/{body['id']}", {"api_key": "sk-the-second-key-1111"})
    assert caller.send("GET", f"/{body['id']}").json()["health"] == []


def test_a_deleted_account_is_gone_with_its_key_but_its_card_stays(caller):
    body = _created(caller)
    assert caller.send("DELETE", f"/{body['id']}").status_code == 204
    assert caller.send("GET", f"/{body['id']}").status_code == 404
    assert caller.send("GET", "").json()["items"] == []
    assert SecretRecord.objects.count() == 0
    assert ProviderCard.objects.get().deleted_at is not None
    assert _created(caller)["slug"] == body["slug"]


def test_lists_are_filtered_and_paged(caller):
    for number in range(3):
        _created(caller, name=f"Account {number}")
    first = caller.send("GET", "?limit=2").json()
    second = caller.send("GET", f"?limit=2&cursor={first['next_cursor']}").json()
    names = [item["name"] for item in first["items"] + second["items"]]
    assert names == ["Account 0", "Account 1", "Account 2"]
    assert caller.send("GET", "?type=anthropic").json()["items"] == []
    assert len(caller.send("GET", "?scope=user&state=enabled").json()["items"]) == 3
    assert caller.send("GET", "?type=nonsense").status_code == 422
    assert caller.send("GET", "?state=nonsense").status_code == 422


def test_a_described_account_is_remembered_by_version_and_dropped_by_the_fact(caller):
    body = _created(caller)
    key = redis.provider_key(Provider.objects.get().pk)
    caller.send("GET", f"/{body['id']}")
    kept = _held(key)
    assert kept is not None
    assert json.loads(kept)["version"] == 1
    assert 0 < redis.client("cache").ttl(key) <= 60
    changed = caller.send("PUT", f"/{body['id']}", {"priority": 7}).json()
    assert changed["priority"] == 7
    tasks.forget_cached({"provider_id": body["id"]})
    assert _held(key) is None


def test_the_accounts_of_a_deleted_workspace_end_with_it(caller):
    owner = a_user()
    workspace = a_workspace(owner)
    body = _created(Caller(owner), scope="workspace", workspace_id=str(workspace.pk))
    tasks.retire_workspace({"workspace_id": str(workspace.pk)})
    assert Provider.objects.get(pk=body["id"]).deleted_at is not None
    assert SecretRecord.objects.count() == 0


class TestLive:
    """POST /{id}/test, /test and /{id}/models/refresh, against a vendor on the wire."""

    def test_a_good_account_lists_its_models(self, caller, simulator):
        body = _created(caller)
        report = caller.send("POST", f"/{body['id']}/test", {}).json()
        assert (report["ok"], report["failure"]) == (True, None)
        assert "sim-echo" in report["models"]
        assert report["latency_ms"] >= 0
        assert report["first_token_ms"] is None
        assert simulator.ledger() == []

    def test_an_unsaved_account_is_tested_and_not_saved(self, caller, simulator):
        report = caller.send("POST", "/test", NEW).json()
        assert report["ok"]
        assert Provider.objects.count() == 0
        refused = caller.send("POST", "/test", NEW | {"generate": True})
        assert _pointers(refused) == ["/generate"]

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"api_key": "bad-key-000000000"}, "bad_key"),
            ({"type": "anthropic", "api_key": None}, "bad_key"),
            ({"config": {"base_url": base_url("anthropic") + "/nowhere"}}, "bad_protocol"),
        ],
    )
    def test_what_fails_has_our_own_words(self, caller, simulator, change, code):
        answer = caller.send("POST", "/test", NEW | change)
        assert answer.json()["failure"]["code"] == code
        assert "Incorrect API key" not in answer.content.decode()

    def test_not_reachable_is_one_answer_for_closed_blocked_and_unknown(self, caller, simulator):
        addresses = [
            "http://localhost:9/v1",
            "https://no-such-host.invalid/v1",
            "http://localhost:22",
        ]
        answers, times = [], []
        for address in addresses:
            started = time.monotonic()
            answers.append(
                caller.send("POST", "/test", NEW | {"config": {"base_url": address}}).content
            )
            times.append(time.monotonic() - started)
        assert len(set(answers)) == 1
        assert json.loads(answers[0])["failure"]["code"] == "not_reachable"
        assert max(times) - min(times) < 0.4

    def test_six_tests_a_minute(self, caller, simulator):
        for _ in range(6):
            assert caller.send("POST", "/test", NEW).status_code == 200
        seventh = caller.send("POST", "/test", NEW)
        assert seventh.status_code == 429
        assert seventh.json()["retry_after_s"] > 0

    def test_a_refresh_keeps_what_the_vendor_lists_and_what_people_named(self, caller, simulator):
        body = _created(caller, models=["by-hand"])
        answer = caller.send("POST", f"/{body['id']}/models/refresh")
        sources = {item["model_id"]: item["source"] for item in answer.json()["items"]}
        assert sources["by-hand"] == "manual"
        assert sources["sim-echo"] == "discovered"
        listed = caller.send("GET", f"/{body['id']}/models").json()["items"]
        assert {item["model_id"] for item in listed} == set(sources)

    def test_a_refresh_that_cannot_reach_says_so_and_changes_nothing(self, caller, simulator):
        body = _created(caller, config={"base_url": "http://localhost:9/v1"}, models=["kept"])
        answer = caller.send("POST", f"/{body['id']}/models/refresh")
        assert (answer.status_code, answer.json()["code"]) == (502, "not_reachable")
        listed = caller.send("GET", f"/{body['id']}/models").json()["items"]
        assert [item["model_id"] for item in listed] == ["kept"]


class TestAliases:
    def test_an_alias_says_what_it_leads_to_and_whether_that_is_ready(self, caller, simulator):
        body = _created(caller, models=["sim-echo"])
        ref = f"{body['slug']}/sim-echo"
        put = caller.send("PUT", "/aliases/my/code", {"targets": ["nobody/x", ref]})
        assert put.status_code == 200
        assert put.json()["resolved"]["model"] == ref
        (item,) = [
            one for one in caller.send("GET", "/aliases").json()["items"] if one["id"] == "my/code"
        ]
        assert [(one["is_ready"], one["reason"]) for one in item["candidates"]] == [
            (False, "not_offered"),
            (True, None),
        ]
        assert caller.send("DELETE", "/aliases/my/code").status_code == 204
        assert caller.send("DELETE", "/aliases/my/code").status_code == 404

    @pytest.mark.parametrize(
        ("name", "body"),
        [
            ("my/code", {}),
            ("my/code", {"targets": ["a", "a"]}),
            ("my/code", {"targets": ["my/code"]}),
            ("agent/coder", {"targets": ["a"]}),
            ("my//code", {"targets": ["a"]}),
            ("my/code", {"targets": ["white space"]}),
        ],
    )
    def test_what_is_no_alias_is_refused(self, caller, name, body):
        assert caller.send("PUT", f"/aliases/{name}", body).status_code == 422
        assert caller.send("GET", "/aliases").json()["items"] == []

    def test_the_platform_s_aliases_are_for_its_operators(self, caller):
        body = {"scope": "platform", "targets": ["a"]}
        assert caller.send("PUT", "/aliases/default/code", body).status_code == 403
        operator = Caller(a_user(is_staff=True, is_superuser=True))
        assert operator.send("PUT", "/aliases/default/code", body).status_code == 200
        seen = caller.send("GET", "/aliases").json()["items"]
        assert [item["id"] for item in seen] == ["default/code"]


class TestReportKey:
    """The key that reads usage reports: set, kept, moved with the address, and never shown."""

    def test_it_is_set_replaced_and_removed(self, caller):
        body = _created(caller, report_api_key="sk-admin-0001")
        assert body["report_key_present"]
        assert "sk-admin" not in json.dumps(body)
        row = Provider.objects.get()
        former = row.report_secret_id
        assert former not in (None, row.secret_id)
        caller.send("PUT", f"/{body['id']}", {"report_api_key": "sk-admin-0002"})
        assert Provider.objects.get().report_secret_id not in (None, former)
        removed = caller.send("PUT", f"/{body['id']}", {"report_api_key": None}).json()
        assert (removed["report_key_present"], removed["key_present"]) == (False, True)
        assert SecretRecord.objects.count() == 1

    def test_no_new_address_gets_it_unasked(self, caller):
        body = _created(caller, report_api_key="sk-admin-0001")
        moved = {"config": {"base_url": "https://elsewhere.example/v1"}, "api_key": KEY}
        refused = caller.send("PUT", f"/{body['id']}", moved)
        assert (refused.status_code, _pointers(refused)) == (422, ["/report_api_key"])
        moved = {"config": HERE | {"report_url": "https://elsewhere.example"}}
        refused = caller.send("PUT", f"/{body['id']}", moved)
        assert _pointers(refused) == ["/api_key", "/report_api_key"]
        assert Provider.objects.get().config == HERE

    def test_it_ends_with_the_account(self, caller):
        body = _created(caller, report_api_key="sk-admin-0001")
        caller.send("DELETE", f"/{body['id']}")
        assert SecretRecord.objects.count() == 0

    @pytest.mark.parametrize(
        "config",
        [
            {"report_url": "http://169.254.169.254/latest"},
            {"report_url": "ftp://example.org"},
            {"report_table": "no table"},
            {"report_table": "p.d.t` WHERE 1=1 --"},
        ],
    )
    def test_where_reports_are_must_be_an_open_address_and_a_plain_name(self, caller, config):
        answer = caller.send("POST", "", NEW | {"config": HERE | config})
        assert answer.status_code == 422
        assert _pointers(answer) == [f"/config/{next(iter(config))}"]
        assert Provider.objects.count() == 0
