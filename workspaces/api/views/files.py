"""`/api/v1/workspaces/{id}/files`: one file, its versions, and the tree."""

from __future__ import annotations

import base64
from uuid import UUID

from django.http import HttpResponse, HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.authentication import actor_of
from accounts.types import Permission
from ideplatform.kit import ids, lists, paging
from ideplatform.kit.errors import TooLarge
from ideplatform.kit.renderers import JSONRenderer
from ideplatform.kit.serializers import read, wrong
from workspaces import selectors, texts
from workspaces.api import bodies, conditions, queries, serializers
from workspaces.services import access, contents, files, quotas, trees
from workspaces.services.contents import Content
from workspaces.types import NEW_FILE, FileVersion, Origin

MIB = 1024 * 1024
JSON_FILE_BYTES = 2 * MIB


def _written(version: FileVersion, base_version: int | None) -> Response:
    headers = {"ETag": conditions.version_tag(version.version)}
    status = 201 if base_version == NEW_FILE else 200
    return Response(serializers.version(version), status=status, headers=headers)


class Tree(APIView):
    permissions = {"GET": Permission.FILE_READ}

    def get(self, request: Request, workspace_id: UUID) -> Response:
        ref = access.workspace(actor_of(request), workspace_id, Permission.FILE_READ)
        page = selectors.tree(
            ref,
            path=queries.text(request, "path"),
            depth=queries.depth(request),
            cursor=queries.text(request, "cursor"),
            limit=paging.read_limit(
                request.query_params.get("limit"),
                default=selectors.TREE_PAGE,
                most=selectors.TREE_PAGE,
            ),
        )
        return lists.answer(page, serializers.node)


class FileContent(APIView):
    permissions = {
        "GET": Permission.FILE_READ,
        "PUT": Permission.FILE_WRITE,
        "DELETE": Permission.FILE_WRITE,
    }
    renderer_classes = [JSONRenderer, bodies.TextRenderer, bodies.OctetRenderer]
    # Two MiB of content, once it is escaped or encoded.
    max_json_bytes = 4 * MIB

    def get(self, request: Request, workspace_id: UUID) -> HttpResponseBase:
        found = contents.read(
            actor=actor_of(request),
            workspace_id=workspace_id,
            version=queries.version(request),
            **queries.target(request),
        )
        tag = conditions.version_tag(found.version.version)
        if conditions.is_known(request, tag):
            return HttpResponse(status=304, headers={"ETag": tag})
        if request.accepted_media_type == JSONRenderer.media_type:
            return Response(_as_json(found), headers={"ETag": tag})
        response = bodies.raw(found.content, is_text=texts.decoded(found.content) is not None)
        response["ETag"] = tag
        return response

    def put(self, request: Request, workspace_id: UUID) -> Response:
        base_version = conditions.required_version(request)
        version = files.write_bytes(
            actor=actor_of(request),
            workspace_id=workspace_id,
            path=queries.required_text(request, "path"),
            content=_sent(request),
            base_version=base_version,
            origin=Origin.REST,
            idempotency_key=conditions.idempotency_key(request),
        )
        return _written(version, base_version)

    def delete(self, request: Request, workspace_id: UUID) -> Response:
        trees.delete(
            actor=actor_of(request),
            workspace_id=workspace_id,
            path=queries.required_text(request, "path"),
            base_version=conditions.stated_version(request),
            recursive=queries.flag(request, "recursive"),
        )
        return Response(status=204)


def _as_json(found: Content) -> dict[str, object]:
    if len(found.content) > JSON_FILE_BYTES:
        raise TooLarge(f"over {JSON_FILE_BYTES} bytes a file is read with Accept: {bodies.OCTETS}")
    text = texts.decoded(found.content)
    encoded = base64.b64encode(found.content).decode() if text is None else text
    return {
        "file_id": ids.public(selectors.FILE_PREFIX, found.version.file_id),
        "path": found.version.path,
        "version": found.version.version,
        "sha256": found.version.sha256,
        "encoding": "base64" if text is None else "utf-8",
        "content": encoded,
    }


def _sent(request: Request) -> bytes:
    """The content of a PUT: a JSON object, or the raw body of any other type."""
    if not bodies.is_json(request):
        return bodies.read_at_most(request, quotas.FILE_BYTES)
    form = read(serializers.ContentForm, request)
    try:
        if form["encoding"] == "base64":
            content = base64.b64decode(form["content"], validate=True)
        else:
            content = form["content"].encode()
    except ValueError:  # of base64 and of UTF-8 alike
        raise wrong("/content", f"this is not {form['encoding']}") from None
    if len(content) > JSON_FILE_BYTES:
        raise TooLarge(f"over {JSON_FILE_BYTES} bytes a file is sent as {bodies.OCTETS}")
    return content


class Directories(APIView):
    permissions = {"POST": Permission.FILE_WRITE}

    def post(self, request: Request, workspace_id: UUID) -> Response:
        form = read(serializers.DirectoryForm, request)
        row = trees.create_directory(
            actor=actor_of(request), workspace_id=workspace_id, path=form["path"]
        )
        return Response(serializers.node(row), status=201)


class Move(APIView):
    permissions = {"POST": Permission.FILE_WRITE}

    def post(self, request: Request, workspace_id: UUID) -> Response:
        form = read(serializers.MoveForm, request)
        row = trees.move(
            actor=actor_of(request),
            workspace_id=workspace_id,
            source=form["from"],
            target=form["to"],
        )
        return Response(serializers.node(row))


class Versions(APIView):
    permissions = {"GET": Permission.FILE_READ}

    def get(self, request: Request, workspace_id: UUID) -> Response:
        ref = access.workspace(actor_of(request), workspace_id, Permission.FILE_READ)
        page = selectors.versions(
            ref,
            selectors.file(ref, **queries.target(request)),
            cursor=queries.text(request, "cursor"),
            limit=paging.read_limit(request.query_params.get("limit")),
        )
        return lists.answer(page, serializers.kept_version)


class Restore(APIView):
    permissions = {"POST": Permission.FILE_WRITE}

    def post(self, request: Request, workspace_id: UUID) -> Response:
        form = read(serializers.RestoreForm, request)
        version = files.restore(
            actor=actor_of(request),
            workspace_id=workspace_id,
            path=form["path"],
            version=form["version"],
            base_version=conditions.stated_version(request),
            idempotency_key=conditions.idempotency_key(request),
        )
        return _written(version, None)
