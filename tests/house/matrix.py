"""The permission matrix: every kind of actor meets every entry, and a refusal changes nothing.

How an app uses it, one line per route (`tests/<app>/test_permissions.py`):

    ROUTES = [
        Route("GET", "/api/v1/workspaces/{workspace_id}", P.WORKSPACE_VIEW),
        Route("PUT", "/api/v1/workspaces/{workspace_id}/files/content?path=a.txt", P.FILE_WRITE,
              body={"content": "x"}, headers={"If-None-Match": "*"}, ok={201}),
        Route("POST", "/api/v1/providers/{provider_id}/test", P.PROVIDER_MANAGE,
              prepare=lambda world: {"provider_id": str(a_provider(world.workspace).pk)}),
        Route("GET", "/api/v1/organizations", P.ORGANIZATION_VIEW, at="listing"),
    ]

    @pytest.mark.django_db
    @pytest.mark.parametrize("route", ROUTES, ids=str)
    def test_every_actor_meets_the_answer_of_the_matrix(route):
        matrix.check(route)

`check` builds a world (an organization with every role, a private workspace in it with guests in
every role, a stranger, keys of every cut) and sends the request as each actor, each in its own
savepoint. Who is allowed follows from `permission` and `at` by the table below, which is written
from the design and not from the code:

* at="workspace" (default): the target is `world.workspace`; at="organization": its organization;
  at="self": the actor's own account; at="listing": a list narrowed to what the actor may see.
* allowed -> a status in `ok` (default any 2xx). Refused -> 404 for whoever has no part in the
  target (byte for byte the answer for an unknown id), 403 for a role or key that lacks it,
  401 without a valid credential; and no row of any table is different afterwards.
* `{names}` in path, headers and (deeply) body come from `world.ids` and from `prepare(world)`,
  which makes what the route needs. Ids in bodies are checked like ids in paths.
* `session_only=True` for routes that API keys never reach.
* `nobody` is what an invalid credential is answered with; a page leads to the sign-in page (303).

For a frame, a task or an admin action, check the service behind it under its entry's name:

    matrix.check_call("frame start", P.AGENT_RUN,
                      lambda actor, world: runs.open_run(actor=actor, ...))

`tests/house/test_accounting.py` then fails for each route, frame, task or action that never met an
allow and a deny of its declared permission.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Set
from dataclasses import KW_ONLY, dataclass, field
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import urlencode

from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from accounts.models import ApiKey, Organization, User
from accounts.services import api_keys, sessions
from accounts.types import Actor, OrganizationRole, Permission, Scope
from ideplatform.kit import accounting
from ideplatform.kit.errors import Forbidden, NotFound, PlatformError
from tests import factories
from workspaces.models import Workspace
from workspaces.types import WorkspaceRole

P = Permission
At = Literal["workspace", "organization", "self", "listing"]
Answer = Literal["allowed", "forbidden", "hidden", "unauthenticated"]

_VIEW = {P.WORKSPACE_VIEW, P.FILE_READ, P.MEMORY_READ, P.RUN_READ}
_EDIT = _VIEW | {
    P.FILE_WRITE, P.AGENT_RUN, P.MEMORY_WRITE, P.BLUEPRINT_WRITE, P.PROVIDER_USE,
    P.PROVIDER_MANAGE, P.BILLING_VIEW, P.USAGE_REPORT,
}  # fmt: skip
_OWN = _EDIT | {P.WORKSPACE_MANAGE}
_MEMBER = {P.ORGANIZATION_VIEW, P.WORKSPACE_CREATE, P.PROVIDER_USE, P.USAGE_REPORT}
_BILLING = {P.ORGANIZATION_VIEW, P.BILLING_VIEW, P.BILLING_MANAGE}
_ADMIN = _MEMBER | {P.PROVIDER_MANAGE, P.ORGANIZATION_MANAGE, P.AUDIT_VIEW, P.BILLING_VIEW}
_OWNER = _ADMIN | {P.BILLING_MANAGE, P.ORGANIZATION_DELETE, P.RECONCILIATION_RUN}
AT_WORKSPACE: dict[str, set[Permission]] = {
    "org_owner": _OWN | {P.BILLING_MANAGE}, "org_admin": _OWN, "org_billing": _BILLING,
    "ws_owner": _OWN, "ws_editor": _EDIT, "ws_viewer": _VIEW,
}  # fmt: skip
AT_ORGANIZATION: dict[str, set[Permission]] = {
    "org_owner": _OWNER, "org_admin": _ADMIN, "org_billing": _BILLING, "org_member": _MEMBER,
}  # fmt: skip
NEVER_BY_KEY = {
    P.SELF, P.ORGANIZATION_MANAGE, P.ORGANIZATION_DELETE, P.AUDIT_VIEW, P.BILLING_MANAGE,
    P.PLATFORM_MANAGE, P.RECONCILIATION_RUN, P.BILLING_OPERATE,
}  # fmt: skip
FORM = "application/x-www-form-urlencoded"
"""The `Content-Type` header of a route whose body is sent as a page's form sends it."""
PEOPLE = (
    "org_owner", "org_admin", "org_billing", "org_member",
    "ws_owner", "ws_editor", "ws_viewer", "removed", "stranger",
)  # fmt: skip
KEYS = ("key_all", "key_scopeless", "key_elsewhere")
DEAD = ("key_expired", "logged_out", "anonymous")
ACTORS = PEOPLE + KEYS + DEAD
# Reference data and what a refusal may leave behind: the audit log, marks of use.
_IGNORED_TABLES = ("audit_events", "django_", "auth_", "price", "model_price")
_IGNORED_COLUMNS = "{last_seen_at,last_used_at,updated_at}"


@dataclass(frozen=True)
class Route:
    """One URL and method, what it asks for, and how to send it."""

    method: str
    path: str
    permission: Permission
    _: KW_ONLY
    at: At = "workspace"
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    ok: Set[int] = frozenset({200, 201, 202, 204})
    session_only: bool = False
    nobody: Set[int] = frozenset({401})
    prepare: Callable[[World], Mapping[str, str]] | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True, kw_only=True)
class World:
    """Two tenants, a workspace, and people and keys of every kind."""

    organization: Organization
    workspace: Workspace
    users: Mapping[str, User]
    keys: Mapping[str, tuple[ApiKey, str]]
    ids: Mapping[str, str]

    def actor(self, name: str) -> Actor:
        """The actor behind a name of `PEOPLE` or `KEYS`."""
        if name in KEYS:
            key, _ = self.keys[name]
            return Actor(
                user_id=key.user_id,
                api_key_id=key.pk,
                scopes=frozenset(Scope(scope) for scope in key.scopes),
                key_organization_id=key.organization_id,
                key_workspace_id=key.workspace_id,
            )
        session = sessions.begin(user=self.users[name])
        return Actor(user_id=self.users[name].pk, session_id=session.pk)

    def headers(self, name: str) -> dict[str, str]:
        """The credential of an actor, as headers."""
        if name == "anonymous":
            return {}
        if name in self.keys:
            return {"x-api-key": self.keys[name][1]}
        user = self.users["org_owner" if name == "logged_out" else name]
        pair = sessions.sign_in(user=user, ip="", user_agent="matrix")
        if name == "logged_out":
            sessions.revoke(user_id=user.pk, session_id=pair.session_id, reason="logout")
        return {"Authorization": f"Bearer {pair.access}"}


def build() -> World:
    """A fresh world in the current transaction."""
    users = {name: factories.a_user() for name in PEOPLE}
    organization = factories.an_organization()
    for role in OrganizationRole:
        factories.join_organization(organization, users[f"org_{role}"], role)
    workspace = factories.a_workspace(users["ws_owner"], organization=organization)
    factories.join_workspace(workspace, users["ws_editor"], WorkspaceRole.EDITOR)
    factories.join_workspace(workspace, users["ws_viewer"], WorkspaceRole.VIEWER)
    other = factories.a_workspace(users["org_owner"], organization=organization)
    owner = Actor(
        user_id=users["org_owner"].pk, session_id=sessions.begin(user=users["org_owner"]).pk
    )
    every = set(Scope)
    keys = {
        "key_all": _key(owner, organization, every),
        "key_scopeless": _key(owner, organization, set()),
        "key_elsewhere": _key(owner, organization, every, workspace_id=other.pk),
        "key_expired": _key(owner, organization, every),
    }
    past = timezone.now() - timedelta(minutes=1)
    ApiKey.objects.filter(pk=keys["key_expired"][0].pk).update(expires_at=past)
    ids = {
        "organization_id": str(organization.pk),
        "workspace_id": str(workspace.pk),
        "user_id": str(users["org_member"].pk),
    }
    return World(organization=organization, workspace=workspace, users=users, keys=keys, ids=ids)


def expected(name: str, permission: Permission, at: At, *, session_only: bool = False) -> Answer:
    """What the design's table says of an actor, a permission and a kind of target."""
    if name in DEAD:
        return "unauthenticated"
    if name in KEYS:
        if session_only or permission in NEVER_BY_KEY or name == "key_scopeless":
            return "forbidden"
        if name == "key_elsewhere" and at != "listing":
            return "hidden" if at == "workspace" else "forbidden"
        return "allowed"
    if at in {"self", "listing"}:
        return "allowed"
    table = AT_WORKSPACE if at == "workspace" else AT_ORGANIZATION
    if name not in table:
        return "hidden"
    return "allowed" if permission in table[name] else "forbidden"


def check(route: Route) -> None:
    """Send the route's request as every actor; fails with all wrong answers at once."""
    world = build()
    ids = {**world.ids, **(route.prepare(world) if route.prepare else {})}
    wrong = [fault for name in ACTORS for fault in _faults(route, world, ids, name)]
    assert not wrong, "\n".join([str(route), *wrong])


def check_call(
    where: str, permission: Permission, call: Callable[[Actor, World], object], at: At = "workspace"
) -> None:
    """Call a service as every live actor under an entry's name; fails with all wrong answers."""
    world = build()
    wrong = []
    for name in PEOPLE + KEYS:
        actor = world.actor(name)
        before = digest()
        with transaction.atomic():
            answer = _called(where, call, actor, world)
            wanted = expected(name, permission, at)
            if answer != wanted:
                wrong.append(f"  {name}: {answer}, expected {wanted}")
            if wanted != "allowed" and digest() != before:
                wrong.append(f"  {name}: refused, but something changed")
            transaction.set_rollback(True)
    assert not wrong, "\n".join([where, *wrong])


def _key(actor: Actor, organization: Organization, scopes: set[Scope], **cut: Any) -> Any:
    key, secret = api_keys.create(
        actor=actor, organization_id=organization.pk, name="matrix", scopes=scopes, **cut
    )
    return key, secret.reveal()


def _called(where: str, call: Callable[[Actor, World], object], actor: Actor, world: World) -> str:
    try:
        with accounting.at(where), transaction.atomic():
            call(actor, world)
    except NotFound:
        return "hidden"
    except Forbidden:
        return "forbidden"
    except PlatformError as other:
        return other.code
    return "allowed"


def _faults(route: Route, world: World, ids: Mapping[str, str], name: str) -> list[str]:
    wanted = expected(name, route.permission, route.at, session_only=route.session_only)
    headers = world.headers(name)
    before = digest() if wanted != "allowed" else {}
    with transaction.atomic():
        status, content = _send(route, ids, headers)
        after = digest() if wanted != "allowed" else {}
        transaction.set_rollback(True)
    faults = []
    accepted = {
        "allowed": route.ok,
        "forbidden": {403},
        "hidden": {404},
        "unauthenticated": route.nobody,
    }[wanted]
    if status not in accepted:
        faults.append(f"  {name}: {status}, expected {wanted}: {content[:300]!r}")
    if before != after:
        changed = [table for table in before if before[table] != after[table]]
        faults.append(f"  {name}: refused with {status}, but changed {changed}")
    if wanted == "hidden" and status == 404:
        faults += _tells_apart(route, ids, headers, name, content)
    return faults


def _tells_apart(
    route: Route, ids: Mapping[str, str], headers: dict[str, str], name: str, content: bytes
) -> list[str]:
    """A hidden target is answered like one that does not exist."""
    unknown = {
        key: str(uuid.uuid4()) if key in {"workspace_id", "organization_id"} else value
        for key, value in ids.items()
    }
    with transaction.atomic():
        _, other = _send(route, unknown, headers)
        transaction.set_rollback(True)
    return [] if other == content else [f"  {name}: {content!r} is not {other!r}"]


def _send(route: Route, ids: Mapping[str, str], headers: dict[str, str]) -> tuple[int, bytes]:
    client = Client(raise_request_exception=False)
    sent = {key: value.format(**ids) for key, value in route.headers.items()}
    content_type = sent.pop("Content-Type", "application/json")
    answer = client.generic(
        route.method,
        route.path.format(**ids),
        _encoded(_filled(route.body, ids), content_type),
        content_type=content_type,
        headers={**headers, **sent, "X-Request-Id": "matrix-request"},
    )
    content = answer.getvalue() if answer.streaming else answer.content
    return answer.status_code, content


def _encoded(body: Any, content_type: str) -> bytes:
    if body is None or isinstance(body, bytes):
        return body or b""
    return (urlencode(body) if content_type == FORM else json.dumps(body)).encode()


def _filled(value: Any, ids: Mapping[str, str]) -> Any:
    match value:
        case str():
            return value.format(**ids)
        case dict():
            return {key: _filled(item, ids) for key, item in value.items()}
        case list():
            return [_filled(item, ids) for item in value]
    return value


def digest() -> dict[str, str]:
    """One hash per table of what a refused request must leave as it was."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace AND NOT relispartition"
            " AND relname NOT LIKE ALL(%s) ORDER BY relname",
            [[prefix + "%" for prefix in _IGNORED_TABLES]],
        )
        tables = [name for (name,) in cursor.fetchall()]
        parts = (
            f"SELECT '{table}', md5(coalesce(string_agg(j, ',' ORDER BY j), '')) FROM (SELECT"
            f" (to_jsonb(t) - '{_IGNORED_COLUMNS}'::text[])::text AS j FROM \"{table}\" t) rows"
            for table in tables
        )
        cursor.execute(" UNION ALL ".join(parts))
        return dict(cursor.fetchall())
