"""What gateway calls leave behind, and how much of it an organization keeps."""

from __future__ import annotations

import dataclasses
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from django.db import transaction

from accounts.models import Organization, User
from accounts.types import OrganizationRole
from ideplatform.kit import ids
from ideplatform.kit.errors import Forbidden, NotFound
from ideplatform.observability import metrics
from ideplatform.outbox.models import Fact
from providers import tasks
from providers.models import GatewayExchange
from providers.services import exchanges
from providers.services.exchanges import Exchange, Recorded
from providers.types import (
    AudioPart,
    Call,
    CallContext,
    Capture,
    ClientFamily,
    DialectName,
    ImagePart,
    Message,
    OpaquePart,
    Purpose,
    Source,
    TextPart,
    ThinkingPart,
    ToolResultPart,
    ToolUsePart,
)
from tests.factories import a_user, an_actor, an_organization, join_organization
from tests.waiting import eventually

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HELLO = Message(role="user", parts=(TextPart(text="hello"),))


def an_exchange(user: User, *, messages=(HELLO,), organization=None, **values) -> Exchange:
    organization_id = (organization or user.personal_organization).pk
    call = Call(
        request_id=values.pop("request_id", None) or ids.new(),
        context=CallContext(user_id=user.pk, organization_id=organization_id),
        model="default/code",
        system="Be brief.",
        messages=messages,
        source=values.pop("source", None),
    )
    usual: dict[str, Any] = {
        "client": ClientFamily.CODEX,
        "session_key": "session:s-1",
        "purpose": Purpose.TURN,
        "dialect": DialectName.RESPONSES,
        "outcome": "ok",
        "at": AT,
        "parts": (TextPart(text="hi"),),
        "model": "sim-echo",
        "stop": "end",
    }
    return Exchange(call=call, **usual | values)


def kept(exchange_id: UUID) -> Recorded:
    found = exchanges.recorded(exchange_id)
    assert found is not None
    return found


@pytest.mark.django_db
def test_a_call_is_kept_with_what_was_asked_and_answered():
    user = a_user()
    one = an_exchange(user)
    assert exchanges.record_many([one]) == 1
    row = GatewayExchange.objects.get()
    assert (row.pk, row.user_id, row.organization_id, row.workspace_id) == (
        one.call.request_id,
        user.pk,
        user.personal_organization.pk,
        None,
    )
    assert (row.client_family, row.session_key, row.purpose) == ("codex", "session:s-1", "turn")
    assert (row.dialect, row.model, row.outcome) == ("responses", "default/code", "ok")
    assert row.expires_at == AT + timedelta(days=30)
    assert row.request is not None
    assert b"hello" not in bytes(row.request)
    found = kept(row.pk)
    assert found.request.system == "Be brief."
    assert found.request.messages == (HELLO,)
    assert (found.answer.parts, found.answer.model) == ((TextPart(text="hi"),), "sim-echo")
    fact = Fact.objects.get(topic="exchange.recorded")
    assert fact.payload == {"exchange_id": str(row.pk)}


@pytest.mark.django_db
def test_the_same_call_is_kept_once_and_as_it_was_first():
    user, one_id = a_user(), ids.new()
    exchanges.record_many([an_exchange(user, request_id=one_id)])
    exchanges.record_many([an_exchange(user, request_id=one_id, outcome="cut")])
    assert GatewayExchange.objects.get().outcome == "ok"


@pytest.mark.django_db
def test_what_is_no_text_is_named_and_what_no_table_holds_is_left_out():
    picture = ImagePart(media_type="image/png", data="QUJD" * 1_000)
    messages = (
        Message(
            role="user",
            parts=(
                TextPart(text="lo\0ok"),
                picture,
                AudioPart(format="wav", data="QUJD"),
                OpaquePart(dialect=DialectName.RESPONSES, raw=msgspec.Raw(b'{"a":1}')),
                ToolResultPart(tool_use_id="c1", text="seen", media=(picture,)),
            ),
        ),
    )
    one = an_exchange(a_user(), messages=messages)
    exchanges.record_many([one])
    found = kept(one.call.request_id)
    assert found.request.messages[0].parts == (
        TextPart(text="look"),
        TextPart(text="[image/png]"),
        TextPart(text="[audio/wav]"),
        ToolResultPart(tool_use_id="c1", text="seen\n[image/png]"),
    )


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("capture", "rows", "is_full"), [("full", 1, True), ("metadata", 1, False), ("off", 0, False)]
)
def test_an_organization_says_how_much_is_kept(capture, rows, is_full):
    user = a_user()
    actor, home = an_actor(user), user.personal_organization.pk
    assert exchanges.capture_of(actor=actor, organization_id=home) is Capture.FULL
    exchanges.set_capture(actor=actor, organization_id=home, capture=Capture(capture))
    assert exchanges.capture_of(actor=actor, organization_id=home) is Capture(capture)
    one, other = an_exchange(user), an_exchange(a_user())
    exchanges.record_many([one, other])
    assert GatewayExchange.objects.filter(organization_id=home).count() == rows
    assert (exchanges.recorded(one.call.request_id) is not None) is is_full
    assert exchanges.recorded(other.call.request_id) is not None


@pytest.mark.django_db
def test_the_platform_s_setting_stands_where_an_organization_has_not_spoken(settings):
    settings.ENV = settings.ENV.model_copy(update={"gateway_capture": "metadata"})
    one = an_exchange(a_user())
    exchanges.record_many([one])
    row = GatewayExchange.objects.get()
    assert (row.request, row.answer) == (None, None)
    assert exchanges.recorded(row.pk) is None


@pytest.mark.django_db
def test_only_managers_change_what_is_kept():
    owner, member, stranger = a_user(), a_user(), a_user()
    team = an_organization(owner)
    join_organization(team, member, OrganizationRole.MEMBER)
    for user, refusal in ((member, Forbidden), (stranger, NotFound)):
        with pytest.raises(refusal):
            exchanges.set_capture(
                actor=an_actor(user), organization_id=team.pk, capture=Capture.OFF
            )
    kept = exchanges.capture_of(actor=an_actor(member), organization_id=team.pk)
    assert kept is Capture.FULL


@pytest.mark.django_db
def test_rows_go_when_their_time_is_over_and_when_their_person_leaves():
    user, leaver = a_user(), a_user()
    today = datetime.now(UTC)
    old = an_exchange(user, at=today - timedelta(days=30, seconds=1))
    young = an_exchange(user, at=today - timedelta(days=29))
    left = an_exchange(leaver, at=today)
    exchanges.record_many([old, young, left])
    tasks.expire_exchanges()
    alive = set(GatewayExchange.objects.values_list("pk", flat=True))
    assert alive == {young.call.request_id, left.call.request_id}
    tasks.retire_user({"user_id": str(leaver.pk)})
    assert GatewayExchange.objects.get().pk == young.call.request_id


def test_what_is_offered_is_written_by_another_thread(committed_db):
    user = a_user()
    calls = [an_exchange(user) for _ in range(150)]
    nobody = UUID(int=7)
    context = CallContext(user_id=nobody, organization_id=user.personal_organization.pk)
    refused = msgspec.structs.replace(calls[0].call, request_id=ids.new(), context=context)
    for one in [*calls[:70], an_exchange(user), *calls[70:]]:
        exchanges.offer(one)
    exchanges.offer(dataclasses.replace(calls[0], call=refused))
    assert exchanges.flush(within_s=20)
    eventually(lambda: GatewayExchange.objects.count() == 151)
    assert not GatewayExchange.objects.filter(user_id=nobody).exists()


@pytest.mark.parametrize(
    ("bounds", "rows"), [({"calls": 2}, 2), ({"size_bytes": 300_000}, 1), ({"calls": 0}, 0)]
)
def test_beyond_its_bound_a_record_is_dropped_and_counted(committed_db, bounds, rows):
    user, dropped = a_user(), metrics.gateway_exchanges_dropped_total.labels(reason="queue_full")
    before = dropped._value.get()
    recorder = exchanges._Recorder(**bounds)
    large = Source(dialect=DialectName.CHAT, body=b"x" * 100_000)
    began = time.monotonic()
    with transaction.atomic():  # who writes waits for this row, and so does the queue
        Organization.objects.select_for_update().get(personal_user=user)
        for _ in range(5):
            recorder.offer(an_exchange(user, source=large))
        assert dropped._value.get() == before + 5 - rows
    assert time.monotonic() - began < 4
    assert recorder.wait_until_empty(20)
    assert GatewayExchange.objects.count() == rows


SSE = {
    DialectName.CHAT: b"".join(
        b"data: " + event + b"\n\n"
        for event in (
            b'{"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}',
            b'{"choices":[{"index":0,"delta":{"content":"I l"}}]}',
            b'{"choices":[{"index":0,"delta":{"content":"ook"}}]}',
            b"{broken",
            b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c1","function":'
            b'{"name":"read","arguments":"{\\"p\\":"}}]}}]}',
            b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":'
            b'{"arguments":"1}"}}]}}]}',
            b"[DONE]",
        )
    ),
    DialectName.MESSAGES: b"".join(
        b"event: e\ndata: " + event + b"\n\n"
        for event in (
            b'{"type":"content_block_start","index":0,"content_block":{"type":"thinking"}}',
            b'{"type":"content_block_delta","index":0,"delta":{"thinking":"hm"}}',
            b'{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}',
            b'{"type":"content_block_delta","index":1,"delta":{"text":"I look"}}',
            b'{"type":"content_block_start","index":2,"content_block":'
            b'{"type":"tool_use","id":"c1","name":"read"}}',
            b'{"type":"content_block_delta","index":2,"delta":{"partial_json":"{\\"p\\":1}"}}',
        )
    ),
    DialectName.RESPONSES: b"".join(
        b"data: " + event + b"\n\n"
        for event in (
            b'{"type":"response.output_item.done","output_index":0,"item":'
            b'{"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]}}',
            b'{"type":"response.output_text.delta","output_index":1,"delta":"I lo"}',
            b'{"type":"response.output_item.done","output_index":1,"item":{"type":"message",'
            b'"content":[{"type":"output_text","text":"I look"}]}}',
            b'{"type":"response.output_item.done","output_index":2,"item":{"type":'
            b'"function_call","call_id":"c1","name":"read","arguments":"{\\"p\\":1}"}}',
        )
    ),
}


@pytest.mark.django_db
@pytest.mark.parametrize("dialect", DialectName)
def test_an_answer_that_was_passed_on_is_read_afterwards(dialect):
    one = an_exchange(a_user(), dialect=dialect, parts=(), passed=SSE[dialect])
    exchanges.record_many([one])
    found = kept(one.call.request_id)
    assert found.answer.parts == (
        ThinkingPart(text="hm"),
        TextPart(text="I look"),
        ToolUsePart(id="c1", name="read", arguments='{"p":1}'),
    )
