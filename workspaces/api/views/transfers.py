"""`/api/v1/workspaces/{id}/files`: uploads, downloads, search, archives."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.authentication import actor_of
from accounts.types import Permission
from ideplatform.kit import throttle
from workspaces import selectors
from workspaces.api import bodies, conditions, queries, serializers
from workspaces.services import access, contents, exports, files, import_jobs, quotas, search
from workspaces.types import NEW_FILE, Origin


class Upload(APIView):
    """The raw body becomes the file; without a condition it must be a new one."""

    permissions = {"POST": Permission.FILE_WRITE}

    def post(self, request: Request, workspace_id: UUID) -> Response:
        stated = conditions.stated_version(request)
        base_version = NEW_FILE if stated is None else stated
        version = files.write_bytes(
            actor=actor_of(request),
            workspace_id=workspace_id,
            path=queries.required_text(request, "path"),
            content=bodies.read_at_most(request, quotas.FILE_BYTES),
            base_version=base_version,
            origin=Origin.UPLOAD,
            idempotency_key=conditions.idempotency_key(request),
        )
        return Response(
            serializers.version(version),
            status=201 if base_version == NEW_FILE else 200,
            headers={"ETag": conditions.version_tag(version.version)},
        )


class Download(APIView):
    permissions = {"GET": Permission.FILE_READ}
    content_negotiation_class = bodies.AnyAccept

    def get(self, request: Request, workspace_id: UUID) -> HttpResponseBase:
        found = contents.open_download(
            actor=actor_of(request),
            workspace_id=workspace_id,
            version=queries.version(request),
            **queries.target(request),
        )
        name = found.version.path.rpartition("/")[2]
        response = bodies.attachment(request, found.pieces, filename=name)
        response["ETag"] = conditions.version_tag(found.version.version)
        response["Content-Length"] = str(found.version.size)
        return response


class Search(APIView):
    permissions = {"GET": Permission.FILE_READ}
    limits = {"GET": throttle.SEARCH}

    def get(self, request: Request, workspace_id: UUID) -> Response:
        result = search.search(
            actor=actor_of(request),
            workspace_id=workspace_id,
            pattern=queries.required_text(request, "q"),
            is_regex=queries.flag(request, "regex"),
            is_case_sensitive=queries.flag(request, "case"),
            path=queries.text(request, "path"),
        )
        return Response(serializers.found(result))


class Imports(APIView):
    """The raw body is a zip archive; `path` names the directory it is unpacked under."""

    permissions = {"POST": Permission.FILE_WRITE}

    def post(self, request: Request, workspace_id: UUID) -> Response:
        job = import_jobs.receive(
            actor=actor_of(request),
            workspace_id=workspace_id,
            directory=queries.text(request, "path"),
            pieces=bodies.pieces(request),
        )
        location = f"/api/v1/workspaces/{workspace_id}/files/import/{job.pk}"
        return Response(serializers.import_job(job), status=202, headers={"Location": location})


class Import(APIView):
    permissions = {"GET": Permission.FILE_READ}

    def get(self, request: Request, workspace_id: UUID, job_id: UUID) -> Response:
        ref = access.workspace(actor_of(request), workspace_id, Permission.FILE_READ)
        return Response(serializers.import_job(selectors.import_job(ref, job_id)))


class Export(APIView):
    permissions = {"GET": Permission.FILE_READ}
    content_negotiation_class = bodies.AnyAccept

    def get(self, request: Request, workspace_id: UUID) -> HttpResponseBase:
        export = exports.open_export(
            actor=actor_of(request), workspace_id=workspace_id, path=queries.text(request, "path")
        )
        return bodies.attachment(
            request, export.pieces, filename=export.filename, content_type="application/zip"
        )
