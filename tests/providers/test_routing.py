"""From a name to the accounts that may serve it, and why one is skipped."""

from __future__ import annotations

import pytest

from billing.errors import ModelUnpriced
from billing.types import BillingMode
from providers.errors import ContextExceeded, ModelNotFound, NoReadyTarget
from providers.models import ModelAlias, Provider
from providers.services import aliases, estimation, routing
from providers.services.access import Home
from providers.types import (
    AudioPart,
    Capability,
    DialectName,
    DocumentPart,
    ImagePart,
    Message,
    OpaquePart,
    ProviderScope,
    Raw,
    RefusalPart,
    ResponseFormat,
    ToolResultPart,
)
from tests.factories import a_user, a_workspace, an_organization
from tests.providers.builders import WEATHER, a_call, a_context, a_provider

pytestmark = pytest.mark.usefixtures("paid_door")
PLATFORM = Home(scope=ProviderScope.PLATFORM)


def _alias(name, *targets, home=PLATFORM, owner=None, selected=""):
    content = aliases.Content(targets=targets, selected_model=selected)
    return aliases.write(name=name, home=home, content=content, owner_id=owner and owner.pk)


def _slugs(call):
    return [route.slug for route in routing.plan(call)]


def _reasons(call):
    with pytest.raises(NoReadyTarget) as refused:
        routing.plan(call)
    targets = refused.value.extra["targets"]
    assert isinstance(targets, list)
    return [(target["model"], target["reason"]) for target in targets]


def test_a_bare_model_is_served_by_the_nearest_scope_alone():
    user = a_user()
    workspace = a_workspace(user)
    context = a_context(user, workspace_id=workspace.pk)
    a_provider(slug="ours")
    assert _slugs(a_call(context=context)) == ["ours"]
    team = Home(
        scope=ProviderScope.WORKSPACE,
        organization_id=workspace.organization_id,
        workspace_id=workspace.pk,
    )
    a_provider(slug="team", home=team)
    assert _slugs(a_call(context=context)) == ["team"]
    a_provider(slug="mine", home=Home(scope=ProviderScope.USER), owner=user)
    assert _slugs(a_call(context=context)) == ["mine"]


def test_in_one_scope_the_higher_priority_goes_first_and_the_other_is_the_fallback():
    a_provider(slug="second", priority=1)
    a_provider(slug="first", priority=5)
    a_provider(slug="third")
    a_provider(slug="fourth", priority=-1)
    assert _slugs(a_call()) == ["first", "second", "third"]


def test_a_slug_names_one_account_and_may_ask_for_models_nobody_listed():
    a_provider(slug="local", billing_mode=BillingMode.FREE)
    (route,) = routing.plan(a_call(model="local/family/new-model:8b"))
    assert (route.slug, route.model) == ("local", "family/new-model:8b")


def test_a_comma_is_an_ordinary_character():
    a_provider(slug="local", billing_mode=BillingMode.FREE, models=("a,b",))
    (route,) = routing.plan(a_call(model="a,b"))
    assert route.model == "a,b"


def test_foreign_accounts_and_aliases_do_not_exist():
    stranger = a_user()
    a_provider(slug="theirs", home=Home(scope=ProviderScope.USER), owner=stranger)
    organization = an_organization(stranger)
    home = Home(scope=ProviderScope.ORGANIZATION, organization_id=organization.pk)
    a_provider(slug="team", home=home)
    _alias("team/code", "team/sim-echo", home=home)
    for model in ("theirs/sim-echo", "team/sim-echo", "sim-echo", "team/code"):
        with pytest.raises(ModelNotFound):
            routing.plan(a_call(model=model))


def test_the_nearest_alias_wins():
    user = a_user()
    a_provider(slug="ours")
    _alias("default/mine", "ours/sim-echo")
    _alias("default/mine", "ours/sim-coder", home=Home(scope=ProviderScope.USER), owner=user)
    (route,) = routing.plan(a_call(model="default/mine", context=a_context(user)))
    assert route.model == "sim-coder"
    (route,) = routing.plan(a_call(model="default/mine"))
    assert route.model == "sim-echo"


def test_the_aliases_of_the_box_lead_to_the_simulator_when_nothing_else_is_there():
    a_provider()
    for name in aliases.DEFAULTS:
        (route,) = routing.plan(a_call(model=name))
        assert route.model.startswith("sim-")
    (route,) = routing.plan(a_call(model="default/code"))
    assert route.model == "sim-coder"


def test_a_real_account_goes_before_the_simulator():
    a_provider(slug="sim")
    a_provider("anthropic", slug="real", models=("claude-sonnet-5",))
    assert _slugs(a_call(model="default/code")) == ["real", "sim"]


def test_a_chosen_model_is_the_only_candidate():
    a_provider(slug="one")
    a_provider(slug="two")
    _alias("team/chosen", "one/sim-echo", selected="two/sim-coder")
    assert _slugs(a_call(model="team/chosen")) == ["two"]


def test_each_target_says_why_it_is_not_ready():
    a_provider(slug="off", is_enabled=False)
    a_provider("openai", slug="keyless", key=None)
    a_provider(slug="narrow", config={"allowed_models": ["sim-coder"]})
    a_provider(slug="dear", models=("never-priced",))
    targets = ["off/sim-echo", "keyless/sim-echo", "narrow/sim-echo", "dear/never-priced", "nobody"]
    _alias("team/none", *targets)
    assert _reasons(a_call(model="team/none")) == [
        ("off/sim-echo", "disabled"),
        ("keyless/sim-echo", "no_key"),
        ("narrow/sim-echo", "model_disabled"),
        ("dear/never-priced", "unpriced"),
        ("nobody", "not_offered"),
    ]


def test_a_key_of_one_s_own_needs_no_price():
    user = a_user()
    home = Home(scope=ProviderScope.USER)
    a_provider(slug="mine", home=home, owner=user, models=("never-priced",))
    (route,) = routing.plan(a_call(model="never-priced", context=a_context(user)))
    assert route.billing_mode is BillingMode.BYOK
    a_provider(slug="ours", models=("also-unpriced",))
    with pytest.raises(ModelUnpriced):
        routing.plan(a_call(model="also-unpriced"))


def test_models_known_to_lack_what_the_call_needs_are_skipped():
    a_provider("openai", slug="old", models=("gpt-4",))
    a_provider(slug="new")
    _alias("team/see", "old/gpt-4", "new/sim-echo")
    image = Message(role="user", parts=(ImagePart(media_type="image/png", data="AAAA"),))
    assert _slugs(a_call(model="team/see", messages=(image,))) == ["new"]
    assert _slugs(a_call(model="team/see", tools=(WEATHER,))) == ["old", "new"]
    assert _slugs(a_call("x" * 200_000, model="team/see")) == ["new"]


IMAGE = ImagePart(media_type="image/png", data="AAAA")
PAGES = DocumentPart(media_type="application/pdf", data="AAAA")
NOTES = DocumentPart(media_type="text/plain", text="notes")
SOUND = AudioPart(format="wav", data="AAAA")


@pytest.mark.parametrize(
    ("part", "needed"),
    [
        (IMAGE, {Capability.VISION}),
        (PAGES, {Capability.DOCUMENTS}),
        (NOTES, set()),
        (SOUND, {Capability.AUDIO_IN}),
        (
            ToolResultPart(tool_use_id="a", text="", media=(IMAGE, PAGES)),
            {Capability.VISION, Capability.DOCUMENTS},
        ),
        (ToolResultPart(tool_use_id="a", text="", media=(NOTES,)), set()),
    ],
)
def test_what_a_conversation_shows_must_be_seen(part, needed):
    call = a_call(messages=(Message(role="user", parts=(part,)),))
    assert routing.need_of(call).capabilities == needed


def test_a_shape_is_needed_whatever_it_is():
    need = routing.need_of(a_call(response_format=ResponseFormat()))
    assert need.capabilities == {Capability.STRUCTURED_OUTPUT}


@pytest.mark.parametrize(
    ("part", "size"),
    [
        (RefusalPart(text="Não."), 5),
        (NOTES, 5),
        (DocumentPart(media_type="text/plain", data="AAAA" * 100), 300),
        (DocumentPart(media_type="application/pdf", data="A" * 200_000), 8_000 * 4),
        (DocumentPart(media_type="application/pdf", url="https://a.example"), 8_000),
        (AudioPart(format="wav", data="A" * 320_000), 750 + 12),
        (OpaquePart(dialect=DialectName.MESSAGES, raw=Raw(b'{"type":"x"}')), 12),
        (ToolResultPart(tool_use_id="a", text="seen", media=(IMAGE, NOTES)), 4 + 4_000 + 5),
    ],
)
def test_every_part_weighs_what_its_model_will_read(part, size):
    bare = estimation.input_bytes(a_call(messages=(Message(role="user", parts=()),)))
    call = a_call(messages=(Message(role="user", parts=(part,)),))
    assert estimation.input_bytes(call) - bare == size


def test_server_tools_are_read_too():
    tool = Raw(b'{"type":"web_search"}')
    plain, call = a_call("x"), a_call("x", server_tools=(tool,))
    assert estimation.input_bytes(call) - estimation.input_bytes(plain) == 21


def test_overrides_of_an_account_go_before_the_catalogue():
    row = a_provider(slug="small")
    row.models.filter(model_id="sim-echo").update(overrides={"context_tokens": 10})
    with pytest.raises(ContextExceeded):
        routing.plan(a_call("a long prompt " * 50))
    a_provider(slug="off", is_enabled=False)
    assert _reasons(a_call("a long prompt " * 50)) == [
        ("sim-echo", "context_too_small"),
        ("sim-echo", "disabled"),
    ]


def test_a_deleted_account_is_not_there():
    a_provider(slug="gone")
    Provider.objects.filter(slug="gone").update(deleted_at="2026-01-01T00:00:00Z")
    with pytest.raises(ModelNotFound):
        routing.plan(a_call(model="gone/sim-echo"))


def test_a_plan_costs_few_queries(django_assert_max_num_queries):
    a_provider(slug="one")
    a_provider(slug="two")
    _alias("team/two", "one/sim-echo", "two/sim-echo", "sim-coder")
    call = a_call(model="team/two")
    routing.plan(call)
    with django_assert_max_num_queries(11):
        routing.plan(call)


def test_ensuring_the_aliases_twice_changes_nothing_that_people_changed():
    alias = ModelAlias.objects.get(name="default/fast")
    ModelAlias.objects.filter(pk=alias.pk).update(selected_model="sim-echo")
    assert aliases.ensure_defaults() == 0
    alias.refresh_from_db()
    assert alias.selected_model == "sim-echo"
    ModelAlias.objects.filter(pk=alias.pk).update(selected_model="")
