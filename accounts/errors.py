"""How entering or managing access fails."""

from __future__ import annotations

from ideplatform.kit.errors import Conflict, Forbidden, InvalidInput, Unauthenticated


class BadCredentials(Unauthenticated):
    """The same for an unknown address, a wrong password and an inactive account."""

    code, title = "bad_credentials", "The e-mail address or password is wrong"


class SessionRevoked(Unauthenticated):
    code, title = "session_revoked", "The session was ended; sign in again"


class SessionExpired(Unauthenticated):
    code, title = "session_expired", "The session has expired; sign in again"


class TokenExpired(Unauthenticated):
    code, title = "token_expired", "The access token has expired; refresh it"


class CredentialConflict(Unauthenticated):
    code, title = "credential_conflict", "Send one credential, not several different ones"


class CredentialInUrl(Unauthenticated):
    code, title = "credential_in_url", "A credential in a URL is refused and considered leaked"


class SessionRequired(Forbidden):
    code, title = "session_required", "An API key never reaches this; sign in"


class ScopeMissing(Forbidden):
    code, title = "scope_missing", "The API key's scopes do not cover this"


class ReauthenticationRequired(Forbidden):
    code, title = "reauthentication_required", "Confirm your password again first"


class CsrfFailed(Forbidden):
    code, title = "csrf_failed", "The CSRF token is missing or wrong"


class OriginRefused(Forbidden):
    code, title = "origin_refused", "This origin may not use the browser session"


class EmailTaken(Conflict):
    code, title = "email_taken", "An account with this e-mail address exists"


class SlugTaken(Conflict):
    code, title = "slug_taken", "An organization with this slug exists"


class AlreadyMember(Conflict):
    code, title = "already_member", "This person is a member already"


class LastOwner(Conflict):
    code, title = "last_owner", "The last owner cannot leave or lose the role"


class OrganizationInUse(Conflict):
    code, title = "organization_in_use", "The organization still holds workspaces"


class PersonalOrganization(Conflict):
    code, title = "personal_organization", "A personal organization has one person and no end"


class WeakPassword(InvalidInput):
    code, title = "weak_password", "The password is too weak"
