"""Every documented REST operation as a request that works: the start of each attack on it.

The operations come from the OpenAPI document, which describes every route; a new route is
therefore found here without being listed, once `values` knows what its path parameters mean.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Group
from django.contrib.sessions.backends.db import SessionStore

from accounts.models import User
from accounts.services import api_keys, sessions
from accounts.services.authentication import SESSION_ID
from accounts.types import OrganizationRole, Scope, SessionKind
from agents.services import runs
from billing.services import exports, usage
from billing.types import UsageFilters
from ideplatform import openapi
from ideplatform.kit import clock
from providers.services import aliases
from providers.services.access import Home
from providers.types import ProviderScope
from tests import factories, inprocess
from tests.billing.calls import a_call
from tests.billing.funds import an_approval
from tests.billing.reports import compared
from tests.providers.builders import a_provider
from tests.workspaces.archives import an_archive
from workspaces.models import ImportJob
from workspaces.services import files
from workspaces.types import NEW_FILE, ImportState, Origin, WorkspaceRole

JSON = "application/json"
BY_COOKIE = {"exchange_browser_session"}
_CSRF = "c" * 32
_PARAMETER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Documented:
    """One method of one path, as the OpenAPI document has it."""

    id: str
    method: str
    path: str
    spec: Mapping[str, Any]

    def __str__(self) -> str:
        return self.id

    @property
    def names(self) -> list[str]:
        """The parameters of the path."""
        return _PARAMETER.findall(self.path)

    def parameters(self, place: str) -> list[dict[str, Any]]:
        return [one for one in self.spec.get("parameters", ()) if one["in"] == place]

    @property
    def content(self) -> dict[str, Any]:
        """The body's media types."""
        found: dict[str, Any] = self.spec.get("requestBody", {}).get("content", {})
        return found

    @property
    def takes_json(self) -> bool:
        """Whether the body is an object of ours; bytes that Stripe signed are not taken apart."""
        return "example" in self.content.get(JSON, {})

    @property
    def is_public(self) -> bool:
        return bool(self.spec["security"] == [{}])

    @property
    def success(self) -> dict[int, dict[str, Any]]:
        """The statuses of success (304 is one) with their descriptions."""
        found = {int(status): told for status, told in self.spec["responses"].items()}
        return {status: told for status, told in found.items() if status < 400}


@functools.cache
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(openapi.encoded())
    return found


@functools.cache
def every() -> tuple[Documented, ...]:
    """All operations of the API."""
    return tuple(
        Documented(id=spec["operationId"], method=method.upper(), path=path, spec=spec)
        for path, methods in document()["paths"].items()
        if path.startswith("/api/")
        for method, spec in methods.items()
    )


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is sent; `with_` makes the variants."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def with_(self, **changes: Any) -> Request:
        return replace(self, **changes)

    def with_json(self, body: object) -> Request:
        return replace(self, body=json.dumps(body).encode())

    @property
    def target(self) -> str:
        return self.path + ("?" + urlencode(self.query) if self.query else "")

    def send(self) -> inprocess.Answer:
        return inprocess.send(self.method, self.target, headers=self.headers, body=self.body)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Somebody who may do everything to what is there, and what their requests are made of."""

    user: User
    values: Mapping[str, str]
    headers: Mapping[str, str]
    cookie: Mapping[str, str]

    def request(self, one: Documented) -> Request:
        """The operation's example, about what is there."""
        media, body = self._body(one)
        headers = dict(self.cookie if one.id in BY_COOKIE else self.headers)
        if one.is_public:
            headers = {}
        headers |= {p["name"]: p["example"] for p in one.parameters("header") if "example" in p}
        return Request(
            method=one.method,
            path=_PARAMETER.sub(lambda name: quote(self.value(one, name[1]), safe="/"), one.path),
            query={p["name"]: p["example"] for p in one.parameters("query") if "example" in p},
            headers=headers | ({"Content-Type": media} if media else {}),
            body=body,
        )

    def value(self, one: Documented, name: str) -> str:
        """What stands for a path's parameter; a new name must be given a meaning in `stage`."""
        return self.values.get(f"{one.id}:{name}") or self.values[name]

    def example(self, one: Documented) -> Any:
        """The documented JSON body, with ids of what is there."""
        return self._filled(one.content[JSON]["example"]) if one.takes_json else None

    def _body(self, one: Documented) -> tuple[str, bytes]:
        if one.takes_json:
            return JSON, json.dumps(self.example(one)).encode()
        if "application/zip" in one.content:
            return "application/zip", an_archive()
        return (next(iter(one.content)), b"content") if one.content else ("", b"")

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: self.values[key] if key in self.values and item else self._filled(item)
                for key, item in value.items()
            }
        return value


def stage() -> Stage:
    """Build it all in the current transaction."""
    user = factories.a_user(email="ada@example.com", full_name="Ada Lovelace", is_staff=True)
    user.groups.add(Group.objects.get(name="billing_manager"))
    factories.a_user(email="newcomer@example.com")
    partner, other = factories.a_user(), factories.a_user()
    colleague = factories.a_user(email="colleague@example.com")
    organization, empty = factories.an_organization(user), factories.an_organization(user)
    for team in (organization, empty):
        factories.join_organization(team, partner, OrganizationRole.OWNER)
    for person in (other, colleague):
        factories.join_organization(organization, person, OrganizationRole.MEMBER)
    workspace = factories.a_workspace(user, organization=organization)
    factories.join_workspace(workspace, partner, WorkspaceRole.OWNER)
    factories.join_workspace(workspace, other, WorkspaceRole.VIEWER)
    pair = sessions.sign_in(user=user, ip="127.0.0.1", user_agent="suite")
    actor = factories.an_actor(user, session_id=pair.session_id)
    key, _ = api_keys.create(
        actor=actor, organization_id=organization.pk, name="suite", scopes={Scope.FILES_READ}
    )
    files.write_text(
        actor=actor,
        workspace_id=workspace.pk,
        path="src/main.py",
        text="print('hello')\n",
        base_version=NEW_FILE,
        origin=Origin.REST,
    )
    job = ImportJob.objects.create(
        workspace=workspace, user=user, state=ImportState.DONE, finished_at=pair.access_expires_at
    )
    home = Home(scope=ProviderScope.ORGANIZATION, organization_id=organization.pk)
    provider = a_provider(home=home, owner=user)
    mine = Home(scope=ProviderScope.USER)
    content = aliases.Content(targets=("sim-echo",))
    aliases.write(name="suite/fast", home=mine, content=content, owner_id=user.pk)
    usage.settle(a_call(organization, workspace_id=workspace.pk, user_id=user.pk))
    recon = compared(provider.pk)
    listed = exports.request(actor=actor, filters=UsageFilters(organization_id=organization.pk))
    exports.run(export_id=listed.pk)
    run = runs.open_run(
        actor=actor,
        workspace_id=workspace.pk,
        conversation_id=None,
        prompt="hello",
        agent="universal",
    )
    approval = an_approval(organization)
    return Stage(
        user=user,
        values={
            "organization_id": str(organization.pk),
            "delete_organization:organization_id": str(empty.pk),
            "workspace_id": str(workspace.pk),
            "user_id": str(other.pk),
            "session_id": str(sessions.begin(user=user).pk),
            "key_id": str(key.pk),
            "job_id": str(job.pk),
            "provider_id": str(provider.pk),
            "budget_id": str(approval.period.budget_id),
            "approval_id": str(approval.pk),
            "export_id": str(listed.pk),
            "month": f"{clock.now():%Y-%m}",
            "name": "suite/fast",
            "agent_id": "universal",
            "run_id": str(run.id),
            "conversation_id": str(run.conversation_id),
            "recon_id": str(recon.pk),
            "line_id": str(recon.lines.get(status="open").pk),
            "refresh": pair.refresh,
        },
        headers={"Authorization": f"Bearer {pair.access}"},
        cookie=_cookie(user),
    )


def _cookie(user: User) -> dict[str, str]:
    """A browser that signed in: its session, and its CSRF token as cookie and header."""
    row = sessions.begin(user=user, kind=SessionKind.BROWSER)
    store = SessionStore()
    store[SESSION_KEY] = str(user.pk)
    store[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store[SESSION_ID] = str(row.pk)
    store.save()
    cookies = {
        settings.SESSION_COOKIE_NAME: str(store.session_key),
        settings.CSRF_COOKIE_NAME: _CSRF,
    }
    return {
        "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()),
        "X-CSRFToken": _CSRF,
    }
