"""Every actor at every route of workspaces: the matrix of the design."""

import pytest

from accounts.types import Permission as P
from tests.factories import a_user, an_actor, join_workspace
from tests.house import matrix
from tests.house.matrix import Route
from tests.workspaces.archives import an_archive
from workspaces.services import files, import_jobs
from workspaces.types import NEW_FILE, Origin, WorkspaceRole


def _a_file(world):
    version = files.write_text(
        actor=an_actor(world.users["ws_owner"]),
        workspace_id=world.workspace.pk,
        path="src/main.py",
        text="print('hello')\n",
        base_version=NEW_FILE,
        origin=Origin.REST,
    )
    return {"file_id": str(version.file_id)}


def _a_job(world):
    job = import_jobs.receive(
        actor=an_actor(world.users["ws_owner"]),
        workspace_id=world.workspace.pk,
        directory="",
        pieces=[an_archive()],
    )
    return {"job_id": str(job.pk)}


def _the_editor(world):
    return {"member_id": str(world.users["ws_editor"].pk)}


def _another_editor(world):
    user = a_user()
    join_workspace(world.workspace, user, WorkspaceRole.EDITOR)
    return {"member_id": str(user.pk)}


W = "/api/v1/workspaces"
F = W + "/{workspace_id}/files"
ROUTES = [
    Route("GET", W, P.WORKSPACE_VIEW, at="listing"),
    Route(
        "POST",
        W,
        P.WORKSPACE_CREATE,
        at="organization",
        body={"name": "New", "organization_id": "{organization_id}"},
    ),
    Route("GET", W + "/{workspace_id}", P.WORKSPACE_VIEW),
    Route("PUT", W + "/{workspace_id}", P.WORKSPACE_MANAGE, body={"name": "Renamed"}),
    Route("DELETE", W + "/{workspace_id}", P.WORKSPACE_MANAGE),
    Route("GET", W + "/{workspace_id}/members", P.WORKSPACE_VIEW, session_only=True),
    Route(
        "POST",
        W + "/{workspace_id}/members",
        P.WORKSPACE_MANAGE,
        session_only=True,
        body={"user_id": "{user_id}", "role": "viewer"},
    ),
    Route(
        "PUT",
        W + "/{workspace_id}/members/{member_id}",
        P.WORKSPACE_MANAGE,
        session_only=True,
        body={"role": "viewer"},
        prepare=_the_editor,
    ),
    Route(
        "DELETE",
        W + "/{workspace_id}/members/{member_id}",
        P.WORKSPACE_MANAGE,
        session_only=True,
        prepare=_another_editor,
    ),
    Route("GET", F + "/tree", P.FILE_READ, prepare=_a_file),
    Route("GET", F + "/content?path=src/main.py", P.FILE_READ, prepare=_a_file),
    Route("GET", F + "/content?file_id={file_id}", P.FILE_READ, prepare=_a_file),
    Route(
        "PUT",
        F + "/content?path=new.txt",
        P.FILE_WRITE,
        body={"content": "x"},
        headers={"If-None-Match": "*"},
    ),
    Route("DELETE", F + "/content?path=src/main.py", P.FILE_WRITE, prepare=_a_file),
    Route("POST", F + "/directories", P.FILE_WRITE, body={"path": "docs"}),
    Route("POST", F + "/move", P.FILE_WRITE, body={"from": "src", "to": "lib"}, prepare=_a_file),
    Route("GET", F + "/versions?path=src/main.py", P.FILE_READ, prepare=_a_file),
    Route(
        "POST",
        F + "/restore",
        P.FILE_WRITE,
        body={"path": "src/main.py", "version": 1},
        prepare=_a_file,
    ),
    Route("POST", F + "/upload?path=image.png", P.FILE_WRITE, body=b"\x89PNG"),
    Route("GET", F + "/download?path=src/main.py", P.FILE_READ, prepare=_a_file),
    Route("GET", F + "/search?q=hello", P.FILE_READ, prepare=_a_file),
    Route(
        "POST",
        F + "/import",
        P.FILE_WRITE,
        body=an_archive(),
        headers={"Content-Type": "application/zip"},
    ),
    Route("GET", F + "/import/{job_id}", P.FILE_READ, prepare=_a_job),
    Route("GET", F + "/export", P.FILE_READ, prepare=_a_file),
]


@pytest.mark.django_db
@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_actor_meets_the_answer_of_the_matrix(route):
    matrix.check(route)
