"""What each of accounts' REST methods takes, answers and refuses (see `kit.openapi`)."""

from __future__ import annotations

from accounts import errors
from accounts.api import answers, serializers
from accounts.api.views import account, entry, organizations
from ideplatform.kit.errors import Conflict
from ideplatform.kit.openapi import Operation, Page, describe

PASSWORD = "correct horse battery"  # noqa: S105 - of an example

describe(
    entry.Register,
    POST=Operation(
        "register",
        "Make an account and sign in.",
        status=201,
        answer=answers.SignedIn,
        body=serializers.RegisterForm,
        example={
            "email": "grace@example.com",
            "password": PASSWORD,
            "full_name": "Grace Hopper",
        },
        problems=(errors.EmailTaken, errors.WeakPassword),
    ),
)
describe(
    entry.Login,
    POST=Operation(
        "login",
        "Sign in with e-mail address and password.",
        answer=answers.SignedIn,
        body=serializers.LoginForm,
        example={"email": "ada@example.com", "password": PASSWORD},
        problems=(errors.BadCredentials,),
    ),
)
describe(
    entry.Refresh,
    POST=Operation(
        "refresh",
        "Exchange a refresh token for its successor and a new access token.",
        answer=answers.TokenPair,
        body=serializers.RefreshForm,
        example={"refresh": "imr_..."},
        problems=(errors.SessionRevoked, errors.SessionExpired),
        description="Within 10 seconds the same token gets the same successor, for a client that"
        " lost the answer; used later it ends the session.",
    ),
)
describe(
    entry.Logout,
    POST=Operation("logout", "End this session, its tokens, tickets and cookie.", status=204),
)
describe(
    entry.BrowserTokens,
    POST=Operation(
        "exchange_browser_session",
        "Exchange the browser session's cookie for tokens of the same session.",
        answer=answers.TokenPair,
        problems=(errors.SessionRequired, errors.CsrfFailed),
    ),
)
describe(
    entry.Ticket,
    POST=Operation(
        "create_socket_ticket",
        "Make a ticket for a WebSocket.",
        status=201,
        answer=answers.SocketTicket,
        body=serializers.TicketForm,
        example={"path": "/api/v1/ws/agents", "reusable": False},
        problems=(errors.SessionRequired,),
    ),
)
describe(
    entry.Reauthenticate,
    POST=Operation(
        "reauthenticate",
        "Prove your password again, for 15 minutes of sensitive changes.",
        status=204,
        body=serializers.PasswordForm,
        example={"password": PASSWORD},
        problems=(errors.BadCredentials,),
    ),
)
describe(
    entry.PasswordChange,
    POST=Operation(
        "change_password",
        "Change your password; other sessions end.",
        status=204,
        body=serializers.PasswordChangeForm,
        example={"old_password": PASSWORD, "new_password": "a long walk by the sea"},
        problems=(
            errors.BadCredentials,
            errors.WeakPassword,
            errors.ReauthenticationRequired,
        ),
    ),
)
describe(
    account.Me,
    GET=Operation("read_me", "Who you are and where you belong.", answer=answers.Profile),
    PATCH=Operation(
        "update_me",
        "Change your name or language.",
        answer=answers.Person,
        body=serializers.ProfileForm,
        example={"full_name": "Ada King", "locale": "pt-br"},
    ),
    DELETE=Operation(
        "delete_me",
        "Delete your account.",
        status=204,
        body=serializers.PasswordForm,
        example={"password": PASSWORD},
        problems=(errors.BadCredentials, errors.LastOwner, errors.ReauthenticationRequired),
    ),
)
describe(
    account.Sessions,
    GET=Operation("list_sessions", "Where you are signed in.", answer=answers.Sessions, query=Page),
    DELETE=Operation("end_other_sessions", "Sign out everywhere else.", status=204),
)
describe(
    account.Session,
    DELETE=Operation("end_session", "Sign out one session.", status=204),
)
describe(
    account.ApiKeys,
    GET=Operation("list_api_keys", "Your API keys.", answer=answers.ApiKeys, query=Page),
    POST=Operation(
        "create_api_key",
        "Make an API key; its secret is shown this once.",
        status=201,
        answer=answers.NewApiKey,
        body=serializers.ApiKeyForm,
        example={
            "name": "continuous integration",
            "scopes": ["files:read", "agents:run"],
            "kind": "personal",
            "organization_id": "0199c2a4-7b1e-7c3d-9f00-2a1b3c4d5e6f",
            "workspace_id": "0199c2a4-7b1e-7c3d-9f00-2a1b3c4d5e70",
            "expires_at": "2099-01-01T00:00:00Z",
        },
        problems=(errors.ReauthenticationRequired,),
    ),
)
describe(
    account.ApiKey,
    DELETE=Operation(
        "revoke_api_key",
        "Revoke an API key.",
        status=204,
        problems=(errors.ReauthenticationRequired,),
    ),
)
describe(
    account.ApiKeyRotation,
    POST=Operation(
        "rotate_api_key",
        "Replace an API key's secret; the old one stops working.",
        answer=answers.NewApiKey,
        problems=(errors.ReauthenticationRequired,),
    ),
)
describe(
    organizations.Organizations,
    GET=Operation(
        "list_organizations",
        "The organizations you belong to.",
        answer=answers.Organizations,
        query=Page,
    ),
    POST=Operation(
        "create_organization",
        "Make a team's organization; you become its owner.",
        status=201,
        answer=answers.Organization,
        body=serializers.OrganizationForm,
        example={"name": "Analytical Engines", "slug": "analytical-engines"},
        problems=(errors.SlugTaken,),
    ),
)
describe(
    organizations.Organization,
    GET=Operation("read_organization", "One organization.", answer=answers.Organization),
    PATCH=Operation(
        "update_organization",
        "Rename an organization.",
        answer=answers.Organization,
        body=serializers.OrganizationChangeForm,
        example={"name": "Difference Engines", "slug": "difference-engines"},
        problems=(errors.SlugTaken,),
    ),
    DELETE=Operation(
        "delete_organization",
        "Delete an organization that holds no workspaces.",
        status=204,
        problems=(
            errors.OrganizationInUse,
            errors.PersonalOrganization,
            errors.ReauthenticationRequired,
        ),
    ),
)
describe(
    organizations.Members,
    GET=Operation(
        "list_organization_members",
        "Who belongs to the organization.",
        answer=answers.OrganizationMembers,
        query=Page,
    ),
    POST=Operation(
        "add_organization_member",
        "Add a person, by id or by e-mail address.",
        status=201,
        answer=answers.OrganizationMember,
        body=serializers.MemberForm,
        example={"email": "newcomer@example.com", "role": "member"},
        problems=(errors.AlreadyMember, errors.PersonalOrganization),
    ),
)
describe(
    organizations.Member,
    PUT=Operation(
        "change_organization_role",
        "Change a member's role.",
        answer=answers.OrganizationMember,
        body=serializers.RoleForm,
        example={"role": "admin"},
        problems=(errors.LastOwner,),
    ),
    DELETE=Operation(
        "remove_organization_member",
        "Remove a member; their workspace roles that follow the organization end.",
        status=204,
        problems=(errors.LastOwner, Conflict),
    ),
)
describe(
    organizations.Audit,
    GET=Operation(
        "list_audit_events",
        "What was done in the organization, newest first.",
        answer=answers.AuditEvents,
        query=Page,
    ),
)
