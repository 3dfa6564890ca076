"""What each of workspaces' REST methods takes, answers and refuses (see `kit.openapi`)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from accounts.errors import AlreadyMember, LastOwner
from ideplatform.kit.errors import IdempotencyKeyReused, StaleVersion, StorageFull, VersionRequired
from ideplatform.kit.openapi import Operation, Page, Parameter, describe
from workspaces import errors
from workspaces.api import answers, bodies, serializers
from workspaces.api.views import files, transfers, workspaces
from workspaces.paths import MAX_DEPTH
from workspaces.selectors import TREE_PAGE

PATH = Parameter(
    "path", str, "Relative path in the workspace.", is_required=True, example="src/main.py"
)
BELOW = Parameter("path", str, "Directory; absent or empty for the whole workspace.")
ONE_FILE = (
    Parameter("path", str, "The file's path; give it or `file_id`.", example="src/main.py"),
    Parameter("file_id", str, "The file's stable id, `wsf_...`."),
)
VERSION = Parameter(
    "version", Annotated[int, msgspec.Meta(ge=1)], "A kept version; absent for the current one."
)
FLAG = Literal["1", "true", "0", "false"]
BASE = (
    Parameter("If-Match", str, 'The version that you changed, as `"v3"`.', example='"v1"'),
    Parameter("If-None-Match", str, "`*`: the file must not exist yet."),
)
ONCE = Parameter("Idempotency-Key", str, "The same key and content write once, for 24 hours.")
REVISION = Parameter("If-Match", str, 'The revision that you changed, as `"r3"`.')
FILE_TAG = {"ETag": 'The version, as `"v3"`.'}
TAG = {"ETag": 'The revision, as `"r3"`.'}
WRITING = (
    errors.InvalidPath,
    errors.PathCollision,
    errors.QuotaExceeded,
    errors.WorkspaceBusy,
    StaleVersion,
    StorageFull,
    IdempotencyKeyReused,
)

describe(
    workspaces.Workspaces,
    GET=Operation(
        "list_workspaces",
        "The workspaces you may see, newest first.",
        answer=answers.Workspaces,
        query=Page,
    ),
    POST=Operation(
        "create_workspace",
        "Make a workspace, in your personal organization unless another is named.",
        status=201,
        answer=answers.Workspace,
        answer_headers=TAG,
        body=serializers.WorkspaceForm,
        example={
            "name": "Compiler",
            "settings": {"theme": "dark"},
            "visibility": "private",
            "default_role": "viewer",
            "organization_id": "0199c2a4-7b1e-7c3d-9f00-2a1b3c4d5e6f",
        },
    ),
)
describe(
    workspaces.Workspace,
    GET=Operation("read_workspace", "One workspace.", answer=answers.Workspace, answer_headers=TAG),
    PUT=Operation(
        "update_workspace",
        "Change a workspace; without `If-Match` the last write wins.",
        answer=answers.Workspace,
        answer_headers=TAG,
        body=serializers.WorkspaceChangeForm,
        example={
            "name": "Optimising compiler",
            "settings": {"theme": "light"},
            "visibility": "organization",
            "default_role": "editor",
        },
        headers=(REVISION,),
        problems=(StaleVersion,),
    ),
    DELETE=Operation("delete_workspace", "Delete a workspace.", status=204),
)
describe(
    workspaces.Members,
    GET=Operation(
        "list_workspace_members",
        "Who has a role in the workspace.",
        answer=answers.WorkspaceMembers,
        query=Page,
    ),
    POST=Operation(
        "add_workspace_member",
        "Give a person a role, by id or by e-mail address.",
        status=201,
        answer=answers.WorkspaceMember,
        body=serializers.MemberForm,
        example={"email": "colleague@example.com", "role": "editor"},
        problems=(AlreadyMember,),
    ),
)
describe(
    workspaces.Member,
    PUT=Operation(
        "change_workspace_role",
        "Change a member's role.",
        answer=answers.WorkspaceMember,
        body=serializers.RoleForm,
        example={"role": "viewer"},
        problems=(LastOwner,),
    ),
    DELETE=Operation(
        "remove_workspace_member",
        "End a membership; everybody may end their own.",
        status=204,
        problems=(LastOwner,),
    ),
)
describe(
    files.Tree,
    GET=Operation(
        "list_files",
        "Files and directories, in the order of their paths.",
        answer=answers.FileTree,
        query=(
            BELOW,
            Parameter(
                "depth", Annotated[int, msgspec.Meta(ge=1, le=MAX_DEPTH)], "Levels below `path`."
            ),
            Page[0],
            Parameter(
                "limit", Annotated[int, msgspec.Meta(ge=1, le=TREE_PAGE)], "Nodes of the page."
            ),
        ),
        problems=(errors.InvalidPath,),
    ),
)
describe(
    files.FileContent,
    GET=Operation(
        "read_file",
        "A file's content as JSON; with `Accept: application/octet-stream` the bytes themselves.",
        answer=answers.FileContent,
        answer_headers=FILE_TAG,
        downloads=(bodies.PLAIN, bodies.OCTETS),
        also={304: "`If-None-Match` names the current version."},
        query=(*ONE_FILE, VERSION),
        headers=(Parameter("If-None-Match", str, "Versions that you have."),),
    ),
    PUT=Operation(
        "write_file",
        "Write a file, as JSON or as a raw body of any other type.",
        answer=answers.FileVersion,
        answer_headers=FILE_TAG,
        also={201: "The file is new."},
        body=serializers.ContentForm,
        example={"content": "print('hello, world')\n", "encoding": "utf-8"},
        media=(bodies.OCTETS,),
        query=(PATH,),
        headers=(*BASE, ONCE),
        problems=(*WRITING, VersionRequired),
    ),
    DELETE=Operation(
        "delete_file",
        "Delete a file, or a directory.",
        status=204,
        query=(PATH, Parameter("recursive", FLAG, "Also what the directory holds.")),
        headers=BASE[:1],
        problems=(
            errors.DirectoryNotEmpty,
            errors.InvalidPath,
            errors.WorkspaceBusy,
            StaleVersion,
        ),
    ),
)
describe(
    files.Directories,
    POST=Operation(
        "create_directory",
        "Make a directory and those above it.",
        status=201,
        answer=answers.FileNode,
        body=serializers.DirectoryForm,
        example={"path": "docs/images"},
        problems=WRITING,
    ),
)
describe(
    files.Move,
    POST=Operation(
        "move_file",
        "Move or rename a file or directory; ids stay.",
        answer=answers.FileNode,
        body=serializers.MoveForm,
        example={"from": "src/main.py", "to": "src/app.py"},
        problems=WRITING,
    ),
)
describe(
    files.Versions,
    GET=Operation(
        "list_file_versions",
        "The kept versions of a file, newest first.",
        answer=answers.KeptVersions,
        query=(*ONE_FILE, *Page),
    ),
)
describe(
    files.Restore,
    POST=Operation(
        "restore_file_version",
        "Write a kept version again, as a new one.",
        answer=answers.FileVersion,
        answer_headers=FILE_TAG,
        body=serializers.RestoreForm,
        example={"path": "src/main.py", "version": 1},
        headers=(*BASE, ONCE),
        problems=(*WRITING, VersionRequired),
    ),
)
describe(
    transfers.Upload,
    POST=Operation(
        "upload_file",
        "The raw body becomes a file; without `If-Match` it must be a new one.",
        status=201,
        answer=answers.FileVersion,
        answer_headers=FILE_TAG,
        also={200: "The file existed."},
        media=(bodies.OCTETS,),
        query=(
            Parameter(
                "path", str, "Relative path in the workspace.", is_required=True, example="a.bin"
            ),
        ),
        headers=(
            Parameter(BASE[0].name, str, BASE[0].description),
            *BASE[1:],
            ONCE,
        ),
        problems=WRITING,
    ),
)
describe(
    transfers.Download,
    GET=Operation(
        "download_file",
        "A file's bytes as an attachment.",
        answer_headers=FILE_TAG,
        downloads=(bodies.OCTETS,),
        query=(*ONE_FILE, VERSION),
    ),
)
describe(
    transfers.Search,
    GET=Operation(
        "search_files",
        "Find a text or a regular expression in the workspace's text files.",
        answer=answers.SearchResult,
        query=(
            Parameter("q", str, "What to find.", is_required=True, example="print"),
            Parameter("regex", FLAG, "`q` is a regular expression."),
            Parameter("case", FLAG, "Upper and lower case differ."),
            BELOW,
        ),
        problems=(errors.InvalidPath,),
    ),
)
describe(
    transfers.Imports,
    POST=Operation(
        "import_files",
        "Unpack a zip archive into the workspace, all or nothing.",
        status=202,
        answer=answers.ImportJob,
        answer_headers={"Location": "Where the job's state is read."},
        media=("application/zip",),
        query=(BELOW,),
        problems=(errors.InvalidPath, errors.ImportActive, errors.ArchiveRefused, StorageFull),
    ),
)
describe(
    transfers.Import,
    GET=Operation("read_import", "How far an import came.", answer=answers.ImportJob),
)
describe(
    transfers.Export,
    GET=Operation(
        "export_files",
        "The workspace, or a directory of it, as a zip archive.",
        downloads=("application/zip",),
        query=(BELOW,),
        problems=(errors.InvalidPath,),
    ),
)
