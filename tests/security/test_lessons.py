"""What others learnt the hard way, as tests (design of accounts and security, section 8).

Here: R1, R2, R4, R5, R10, R12, R13, R14. Elsewhere: R9 `tests/kit/test_egress.py` and
`test_egress_canary.py`, R11 and R15 the matrices (`tests/*/test_permissions.py`, held complete by
`tests/house/test_accounting.py`) and `tests/agents/test_consumers.py`.
"""

from __future__ import annotations

import ast
import http.client
import json
import re
import sysconfig
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from accounts.models import RefreshSession, User
from accounts.services import api_keys, sessions
from accounts.types import Scope
from ideplatform.kit import ids, redis
from ideplatform.kit.db import run_db
from providers.models import Provider
from tests import factories, operations
from tests.conftest import LiveWeb
from tests.house import source
from tests.kit import wire
from tests.operations import Documented
from tests.security import lock
from tests.waiting import eventually
from workspaces.models import WorkspaceMembership
from workspaces.types import WorkspaceRole

EVERY = {one.id: one for one in operations.every()}

# R1: whoever writes SQL stands here; everybody else has the ORM.
WRITES_SQL = {
    "accounts.services.audit",
    "accounts.services.tickets",
    "agents.journal.store",
    "agents.services.leases",
    "agents.services.steps",
    "billing.management.commands.import_prices",
    "billing.selectors.funds",
    "billing.selectors.statements",
    "billing.selectors.sums",
    "billing.services.balances",
    "billing.services.budgets",
    "billing.services.console",
    "billing.services.corrections",
    "billing.services.customers",
    "billing.services.exports",
    "billing.services.gauges",
    "billing.services.holds",
    "billing.services.ledger",
    "billing.services.markup_rerating",
    "billing.services.price_versions",
    "billing.services.prices",
    "billing.services.reconcile.books",
    "billing.services.reports",
    "billing.services.rerating",
    "billing.services.rollups",
    "billing.services.statements",
    "billing.services.usage",
    "billing.services.verification",
    "billing.stripe.inbox",
    "ideplatform.kit.db",
    "ideplatform.outbox.facts",
    "ideplatform.probes",
    "providers.services.estimation",
    "providers.services.response_log",
    "providers.services.stored_responses",
    "workspaces.adapters.bulk",
    "workspaces.adapters.listing",
    "workspaces.adapters.subtree",
    "workspaces.services.pruning",
}
LOCK = source.ROOT / "uv.lock"
PROJECT = source.ROOT / "pyproject.toml"
FREE_SQL = {"raw", "extra", "RawSQL"}
NAMED_BY_CALLERS = {"annotate", "alias", "aggregate", "values", "values_list", "order_by"}


def _calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(source.tree(path)):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            yield name, node


def _parts(path: Path) -> bool:
    return "embedded" not in path.parts and "simulator" not in path.parts


def test_r1_sql_is_written_in_listed_modules_only():
    found = {
        source.module(path)
        for path in filter(_parts, source.files())
        for name, call in _calls(path)
        if name == "cursor" and not call.args
    }
    assert found == WRITES_SQL


def test_r1_no_query_takes_its_words_from_a_caller():
    """`annotate(**user)` made column names of a request's members (CVE-2026-42208).

    The summary of usage names its groups by a closed table (`GROUPS`).
    """
    found = [
        f"{source.name(path)}:{call.lineno} {name}"
        for path in filter(_parts, source.files())
        for name, call in _calls(path)
        if source.name(path) != "billing/selectors/summaries.py"
        if (name in FREE_SQL and _of_the_orm(call) and not _is_constant(call))
        or (name in NAMED_BY_CALLERS and any(keyword.arg is None for keyword in call.keywords))
    ]
    assert found == []


def _is_constant(call: ast.Call) -> bool:
    """A statement that its module keeps under a name in capitals."""
    statement = call.args[0] if call.args else None
    return isinstance(statement, ast.Name) and statement.id.isupper()


def _of_the_orm(call: ast.Call) -> bool:
    """`Model.objects.raw(...)` and its like; `bodies.raw` is a response of ours."""
    return not (isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name))


def test_r1_statements_are_constants():
    """Pieces that are put together are constants of the same module, never a caller's text."""
    found = [
        f"{source.name(path)}:{call.lineno}"
        for path in filter(_parts, source.files())
        for name, call in _calls(path)
        if name == "execute" and call.args and _is_put_together(call.args[0])
    ]
    assert found == []


def _is_put_together(statement: ast.expr) -> bool:
    if isinstance(statement, ast.JoinedStr):
        inserted = [part for part in statement.values if isinstance(part, ast.FormattedValue)]
        return not all(isinstance(p.value, ast.Name) and p.value.id.isupper() for p in inserted)
    return isinstance(statement, ast.BinOp | ast.Call)


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["test_provider", "test_unsaved_provider", "create_provider"])
def test_r2_trying_an_account_needs_the_right_to_keep_it(name: str, simulator):
    """Previews were open to everybody who could read (CVE-2026-42271)."""
    stage = operations.stage()
    request = stage.request(EVERY[name])
    viewer = User.objects.get(pk=stage.values["user_id"])
    before = Provider.objects.count()
    reader = _a_key(stage, {Scope.PROVIDERS_READ})
    for credential in (_bearer(viewer), {"x-api-key": reader}):
        headers = {k: v for k, v in request.headers.items() if k != "Authorization"} | credential
        assert request.with_(headers=headers).send().status == 403
    assert (Provider.objects.count(), simulator.requests()) == (before, [])


def _bearer(user: User) -> dict[str, str]:
    pair = sessions.sign_in(user=user, ip="127.0.0.1", user_agent="suite")
    return {"Authorization": f"Bearer {pair.access}"}


def _a_key(stage: operations.Stage, scopes: set[Scope]) -> str:
    session = RefreshSession.objects.filter(user=stage.user).order_by("created_at").first()
    assert session is not None
    actor = factories.an_actor(stage.user, session_id=session.pk)
    _, secret = api_keys.create(
        actor=actor,
        organization_id=UUID(stage.values["organization_id"]),
        name="lessons",
        scopes=scopes,
    )
    return str(secret.reveal())


def _locked() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads(LOCK.read_text())["package"]
    return [package for package in found if "registry" in package["source"]]


def test_r4_every_locked_file_is_named_hashed_and_from_one_place():
    """A release was replaced on the index and ran at every start (LiteLLM 1.82.7)."""
    assert len(lock.files_of(_locked())) > 500
    assert lock.faults(LOCK.read_text(), PROJECT.read_text()) == []


def test_r4_what_is_installed_is_what_was_locked():
    versions: dict[str, set[str]] = {}
    for package in _locked():
        versions.setdefault(package["name"], set()).add(package["version"])
    installed = {_normal(d.metadata["Name"]): d.version for d in metadata.distributions()}
    differing = {
        name: version
        for name, version in installed.items()
        if name in versions and version not in versions[name]
    }
    assert differing == {}
    assert {"django", "aiohttp", "cryptography"} <= installed.keys()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_r4_nothing_runs_at_every_start_of_python():
    found = {path.name for path in Path(sysconfig.get_paths()["purelib"]).glob("*.pth")}
    assert found <= {"distutils-precedence.pth", "_virtualenv.pth"}


def _rest(live_web: LiveWeb, method: str, path: str, body: object, headers: Any) -> tuple[int, Any]:
    parts = urlsplit(live_web.url)
    http_ = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
    sent = dict(headers) | {"Content-Type": "application/json"}
    http_.request(method, "/api/v1" + path, json.dumps(body) if body is not None else None, sent)
    answer = http_.getresponse()
    content = answer.read()
    return answer.status, json.loads(content) if content else None


def _close_code(socket: ClientConnection) -> int:
    try:
        while True:
            socket.recv(timeout=5)
    except ConnectionClosed:
        return int(socket.protocol.close_code or 0)


def test_r5_signing_out_ends_everything_of_the_session(live_web: LiveWeb):
    """A logout left tokens and sockets alive (CVE-2026-12772)."""
    stage = operations.stage()
    _, pair = _rest(live_web, "POST", "/auth/token", None, stage.cookie)
    bearer = {"Authorization": f"Bearer {pair['access']}"}
    asked = {"path": "/api/v1/ws/agents"}
    _, ticket = _rest(live_web, "POST", "/auth/ws-ticket", asked, bearer)
    address = live_web.ws_url + "/api/v1/ws/agents"
    with connect(address, additional_headers=bearer) as socket:
        _greet(socket)
        assert _rest(live_web, "GET", "/auth/me", None, stage.cookie)[0] == 200
        assert _rest(live_web, "POST", "/auth/logout", None, bearer)[0] == 204
        assert _close_code(socket) == 4401
    eventually(lambda: _rest(live_web, "GET", "/auth/me", None, bearer)[0] == 401, within_s=1)
    assert _rest(live_web, "GET", "/auth/me", None, stage.cookie)[0] == 401
    status, problem = _rest(live_web, "POST", "/auth/refresh", {"refresh": pair["refresh"]}, {})
    assert (status, problem["code"]) == (401, "session_revoked")
    with connect(f"{address}?ticket={ticket['ticket']}") as late:
        assert _close_code(late) == 4401


SPELLINGS = (
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost", "0.0.0.0",
    "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::127.0.0.1]", "①②⑦.⓪.⓪.①", "%31%32%37.0.0.1",
    "a@127.0.0.1", "8.8.8.8\\@127.0.0.1", "169.254.169.254", "metadata.google.internal",
)  # fmt: skip


async def test_r10_no_address_field_of_an_endpoint_reaches_a_closed_address(committed_db):
    """The check at the library was not the check at the endpoint (CVE-2026-31943)."""
    async with wire.http(wire.ok) as canary:
        found = await run_db(_ask_for, canary.port)
        assert canary.hits == []
    assert set(found.values()) <= {"422", "not_reachable"}, found
    assert "422" in found.values()


def _ask_for(port: int) -> dict[str, str]:
    """Every spelling in every field that holds an address."""
    stage = operations.stage()
    found = {}
    for name in ("create_provider", "update_provider"):
        one = EVERY[name]
        for host in SPELLINGS:
            answer = _with_address(stage, one, f"http://{host}:{port}/v1")
            if answer.status < 300:
                made = f"/api/v1/providers/{answer.json()['id']}/test"
                tried = stage.request(EVERY["test_provider"]).with_(path=made).send()
                found[f"{name} {host}"] = tried.json()["failure"]["code"]
            else:
                found[f"{name} {host}"] = str(answer.status)
    return found


def _with_address(stage: operations.Stage, one: Documented, url: str) -> Any:
    example = stage.example(one) | {"config": {"base_url": url}, "slug": f"s{ids.new().int:x}"[:40]}
    redis.client("cache").flushdb()  # how often one may write is not the question
    return stage.request(one).with_json(example).send()


def test_r12_one_module_reads_credentials():
    """Each header had limits of its own (CVE-2026-45339)."""
    words = re.compile(r"""["'](http_)?(authorization|x[-_]api[-_]key)["']""", re.IGNORECASE)
    readers = {
        source.module(path)
        for path in filter(_parts, source.files("accounts", "agents", "billing", "workspaces"))
        if words.search(path.read_text(encoding="utf-8"))
    }
    assert readers == {"accounts.services.authentication"}


@contextmanager
def _dialled(live_web: LiveWeb, headers: Any) -> Iterator[ClientConnection]:
    address = live_web.ws_url + "/api/v1/ws/agents"
    with connect(address, additional_headers=dict(headers)) as socket:
        _greet(socket)
        yield socket


def _greet(socket: ClientConnection) -> None:
    socket.send(json.dumps({"type": "hello"}))
    assert json.loads(socket.recv(timeout=5))["type"] == "welcome"


def _refusal(socket: ClientConnection, **frame: Any) -> str:
    socket.send(json.dumps(frame))
    while True:
        answer = json.loads(socket.recv(timeout=5))
        if answer["type"] == "error":
            return str(answer["problem"]["code"])


def test_r13_each_message_is_judged_by_the_role_of_its_moment(live_web: LiveWeb):
    """A demoted member went on through an open socket (CVE-2026-44553)."""
    stage = operations.stage()
    workspace_id = stage.values["workspace_id"]
    editor = factories.a_user()
    membership = WorkspaceMembership.objects.create(
        workspace_id=workspace_id, user=editor, role=WorkspaceRole.EDITOR
    )
    start = {"type": "start", "workspace_id": workspace_id, "agent_id": "universal"}
    with _dialled(live_web, _bearer(editor)) as socket:
        socket.send(json.dumps(start | {"prompt": "hello", "request_id": "a"}))
        assert json.loads(socket.recv(timeout=5))["type"] == "started"
        path = f"/workspaces/{workspace_id}/members/{editor.pk}"
        assert _rest(live_web, "PUT", path, {"role": "viewer"}, stage.headers)[0] == 200
        assert _refusal(socket, **start, prompt="again", request_id="b") == "forbidden"
    membership.refresh_from_db()
    assert membership.role == WorkspaceRole.VIEWER


def test_r14_nobody_attaches_to_a_foreign_run(live_web: LiveWeb):
    """Whoever knew an id could follow it (CVE-2026-31950)."""
    stage = operations.stage()
    run_id = stage.values["run_id"]
    with _dialled(live_web, _bearer(factories.a_user())) as socket:
        assert _refusal(socket, type="subscribe", run_id=run_id) == "not_found"
        assert _refusal(socket, type="cancel", run_id=run_id) == "not_found"
        conversation = {"conversation_id": stage.values["conversation_id"]}
        start = {"type": "start", "prompt": "x", "workspace_id": stage.values["workspace_id"]}
        assert _refusal(socket, **start, **conversation) == "not_found"


def test_a_socket_with_a_false_ticket_is_closed(live_web: LiveWeb):
    with connect(live_web.ws_url + "/api/v1/ws/agents?token=imt_" + "a" * 60) as socket:
        assert _close_code(socket) == 4401
