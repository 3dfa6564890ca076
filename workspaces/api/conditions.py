"""Which version a request was made on: `If-Match`, `If-None-Match`, `Idempotency-Key`."""

from __future__ import annotations

import re
from typing import Final

from rest_framework.request import Request

from ideplatform.kit.errors import MalformedRequest, VersionRequired
from workspaces.types import NEW_FILE

_VERSION: Final = re.compile(r'"v([1-9][0-9]{0,8})"')
_REVISION: Final = re.compile(r'"r([1-9][0-9]{0,8})"')


def version_tag(version: int) -> str:
    """The ETag of a file's version."""
    return f'"v{version}"'


def revision_tag(revision: int) -> str:
    """The ETag of a workspace's revision."""
    return f'"r{revision}"'


def stated_version(request: Request) -> int | None:
    """The version named by `If-Match`, `NEW_FILE` for `If-None-Match: *`, None for neither.

    Raises MalformedRequest for both at once, and for anything but one strong tag.
    """
    match, none_match = request.headers.get("If-Match"), request.headers.get("If-None-Match")
    if match is not None and none_match is not None:
        raise MalformedRequest("send If-Match or If-None-Match, not both")
    if none_match is not None:
        if none_match.strip() != "*":
            raise MalformedRequest("If-None-Match is * here: the file must not exist")
        return NEW_FILE
    return _tagged(match, _VERSION, 'If-Match names one version, as "v3"')


def required_version(request: Request) -> int:
    """The same, raising VersionRequired 428 for neither."""
    stated = stated_version(request)
    if stated is None:
        raise VersionRequired('send If-Match: "v<version>", or If-None-Match: * to create')
    return stated


def stated_revision(request: Request) -> int | None:
    """The revision of a workspace named by `If-Match`; None when absent."""
    return _tagged(
        request.headers.get("If-Match"), _REVISION, 'If-Match names one revision, as "r3"'
    )


def is_known(request: Request, tag: str) -> bool:
    """Whether a reader's `If-None-Match` names the tag, so that 304 is the answer."""
    known = request.headers.get("If-None-Match", "")
    return known.strip() == "*" or tag in {part.strip() for part in known.split(",")}


def idempotency_key(request: Request) -> str | None:
    """The request's `Idempotency-Key`; its form is checked where it is kept."""
    return request.headers.get("Idempotency-Key")


def _tagged(header: str | None, form: re.Pattern[str], detail: str) -> int | None:
    if header is None:
        return None
    found = form.fullmatch(header.strip())
    if found is None:
        raise MalformedRequest(detail)
    return int(found[1])
