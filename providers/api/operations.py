"""What each of providers' REST methods takes, answers and refuses (see `kit.openapi`)."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from ideplatform.kit.errors import StaleVersion
from ideplatform.kit.openapi import Operation, Page, Parameter, describe
from providers import errors
from providers.api import answers, capture, serializers, views
from providers.types import ProviderScope, ProviderType

ACCOUNT = {
    "name": "Workshop server",
    "type": "openai_compatible",
    "slug": "workshop",
    "scope": "organization",
    "organization_id": "0199c2a4-7b1e-7c3d-9f00-2a1b3c4d5e6f",
    "workspace_id": None,
    "config": {"base_url": "https://models.example.com/v1"},
    "api_key": "sk-example-0123456789",
    "report_api_key": "sk-admin-example-0123456789",
    "billing_mode": "byok",
    "priority": 10,
    "is_enabled": True,
    "external_account_ref": "acct-17",
    "models": ["workshop-large"],
}
REVISION = Parameter("If-Match", str, 'The version that you changed, as `"v3"`.')
TAG = {"ETag": 'The version, as `"v3"`.'}
IN_WORKSPACE = Parameter("workspace_id", UUID, "Answer as in this workspace.")

describe(
    views.Providers,
    GET=Operation(
        "list_providers",
        "The accounts you may use.",
        answer=answers.Providers,
        query=(
            Parameter("type", ProviderType, "Only accounts at this kind of vendor."),
            Parameter("scope", ProviderScope, "Only accounts of this scope."),
            Parameter("state", Literal["enabled", "disabled"], "Only accounts in this state."),
            *Page,
        ),
    ),
    POST=Operation(
        "create_provider",
        "Add an account; the key is sealed at once and never shown again.",
        status=201,
        answer=answers.Provider,
        answer_headers=TAG,
        body=serializers.ProviderForm,
        example=ACCOUNT,
        problems=(errors.NameTaken,),
    ),
)
describe(
    views.TestDraft,
    POST=Operation(
        "test_unsaved_provider",
        "Try an account without saving it: lists its models.",
        answer=answers.TestReport,
        body=serializers.TestDraftForm,
        example=ACCOUNT | {"generate": False},
    ),
)
describe(
    views.Models,
    GET=Operation(
        "list_models",
        "Every model of the accounts you may use.",
        answer=answers.ProviderModels,
        query=Page,
    ),
)
describe(
    views.Aliases,
    GET=Operation(
        "list_model_aliases",
        "The names you may call, and who would answer.",
        answer=answers.ModelAliases,
        query=(IN_WORKSPACE, *Page),
    ),
)
describe(
    views.Alias,
    PUT=Operation(
        "set_model_alias",
        "Set an alias of a scope, as a whole.",
        answer=answers.ModelAlias,
        body=serializers.AliasForm,
        example={
            "scope": "organization",
            "organization_id": "0199c2a4-7b1e-7c3d-9f00-2a1b3c4d5e6f",
            "workspace_id": None,
            "targets": ["claude-sonnet-5", "workshop/workshop-large"],
            "description": "Writing and changing code",
            "selected_model": "",
        },
    ),
    DELETE=Operation(
        "delete_model_alias",
        "Forget an alias of a scope; the next scope's answers again.",
        status=204,
        query=(
            Parameter("scope", ProviderScope, "Whose alias; `user` when absent."),
            Parameter("organization_id", UUID, "With the scope `organization`."),
            Parameter("workspace_id", UUID, "With the scope `workspace`."),
        ),
    ),
)
describe(
    views.Provider,
    GET=Operation("read_provider", "One account.", answer=answers.Provider, answer_headers=TAG),
    PUT=Operation(
        "update_provider",
        "Change an account; members that are absent stay, a null key is removed.",
        answer=answers.Provider,
        answer_headers=TAG,
        body=serializers.ProviderChangeForm,
        example={
            "name": "Workshop",
            "type": "openai_compatible",
            "slug": "workshop-two",
            "config": {"base_url": "https://models.example.com/v2"},
            "api_key": "sk-example-9876543210",
            "report_api_key": "sk-admin-example-9876543210",
            "billing_mode": "byok",
            "priority": 5,
            "is_enabled": False,
            "external_account_ref": "",
        },
        headers=(REVISION,),
        problems=(StaleVersion, errors.NameTaken, errors.KeyRequired),
        description="A changed `base_url` or `type` requires the key again: no new address gets"
        " an old key.",
    ),
    DELETE=Operation(
        "delete_provider",
        "Remove an account and its key.",
        status=204,
        headers=(REVISION,),
        problems=(StaleVersion,),
    ),
)
describe(
    views.Test,
    POST=Operation(
        "test_provider",
        "Try an account: lists its models; `generate` adds one metered call of one token.",
        answer=answers.TestReport,
        body=serializers.TestForm,
        example={"generate": False, "model": ""},
    ),
)
describe(
    views.ProviderModels,
    GET=Operation(
        "list_provider_models",
        "The models of one account.",
        answer=answers.ProviderModels,
        query=Page,
    ),
)
describe(
    views.Refresh,
    POST=Operation(
        "refresh_provider_models",
        "Ask the vendor for its models again.",
        answer=answers.ProviderModels,
        problems=(errors.BadKey, errors.AccessDenied, errors.RateLimited, errors.VendorBroken),
    ),
)
describe(
    capture.GatewayCapture,
    GET=Operation(
        "read_gateway_capture",
        "How much of its gateway calls an organization keeps.",
        answer=answers.GatewayCapture,
    ),
    PUT=Operation(
        "set_gateway_capture",
        "Keep `full` calls, their `metadata` or nothing (`off`), from now on.",
        answer=answers.GatewayCapture,
        body=serializers.CaptureForm,
        example={"capture": "metadata"},
    ),
)
