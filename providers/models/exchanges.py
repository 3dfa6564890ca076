"""Tables of what gateway clients asked and got, and how much of it an organization keeps."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from accounts.models import Organization
from ideplatform.kit.columns import choices, one_of
from providers.types import Capture, ClientFamily, DialectName, Purpose
from workspaces.models import Workspace


class GatewayExchange(models.Model):
    """One call of a gateway client; its id is the call's request id. Gone at `expires_at`.

    `request` is zstd of a CapturedRequest's JSON, `answer` of a CapturedAnswer's; both are null
    where the organization keeps metadata only. `outcome` is `ok`, `cancelled` or an error's code.
    """

    id = models.UUIDField(primary_key=True)
    api_key_id = models.UUIDField(null=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+")
    workspace = models.ForeignKey(Workspace, models.CASCADE, null=True, related_name="+")
    client_family = models.CharField(max_length=20, choices=choices(ClientFamily))
    session_key = models.CharField(max_length=160)
    dialect = models.CharField(max_length=10, choices=choices(DialectName))
    model = models.CharField(max_length=250)
    purpose = models.CharField(max_length=10, choices=choices(Purpose))
    request = models.BinaryField(null=True)
    answer = models.BinaryField(null=True)
    outcome = models.CharField(max_length=40)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "gateway_exchanges"
        indexes = [
            models.Index(fields=["session_key", "id"], name="gateway_exchanges_session"),
            models.Index(fields=["expires_at"], name="gateway_exchanges_expiry"),
        ]
        constraints = [
            one_of("client_family", ClientFamily, "gateway_exchanges_client"),
            one_of("dialect", DialectName, "gateway_exchanges_dialect"),
            one_of("purpose", Purpose, "gateway_exchanges_purpose"),
        ]

    def __str__(self) -> str:
        return f"{self.pk} {self.outcome}"


class CapturePreference(models.Model):
    """How much an organization keeps; without a row, what GATEWAY_CAPTURE says."""

    organization = models.OneToOneField(
        Organization, models.CASCADE, primary_key=True, related_name="+"
    )
    capture = models.CharField(max_length=10, choices=choices(Capture))
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "capture_preferences"
        constraints = [one_of("capture", Capture, "capture_preferences_capture")]

    def __str__(self) -> str:
        return f"{self.organization_id} {self.capture}"
