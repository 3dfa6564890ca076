"""`/api/v1/workspaces`."""

from __future__ import annotations

from django.urls import path

from workspaces.api.views import files, transfers, workspaces

_ONE = "/<uuid:workspace_id>"
_FILES = _ONE + "/files"

urlpatterns = [
    path("", workspaces.Workspaces.as_view()),
    path(_ONE, workspaces.Workspace.as_view()),
    path(_ONE + "/members", workspaces.Members.as_view()),
    path(_ONE + "/members/<uuid:user_id>", workspaces.Member.as_view()),
    path(_FILES + "/tree", files.Tree.as_view()),
    path(_FILES + "/content", files.FileContent.as_view()),
    path(_FILES + "/directories", files.Directories.as_view()),
    path(_FILES + "/move", files.Move.as_view()),
    path(_FILES + "/versions", files.Versions.as_view()),
    path(_FILES + "/restore", files.Restore.as_view()),
    path(_FILES + "/upload", transfers.Upload.as_view()),
    path(_FILES + "/download", transfers.Download.as_view()),
    path(_FILES + "/search", transfers.Search.as_view()),
    path(_FILES + "/import", transfers.Imports.as_view()),
    path(_FILES + "/import/<uuid:job_id>", transfers.Import.as_view()),
    path(_FILES + "/export", transfers.Export.as_view()),
]
