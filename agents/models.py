"""Tables of conversations, runs, their journal and their leases."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts.models import Organization
from agents.types import (
    ACTIVE,
    CommandKind,
    ConversationOrigin,
    ConversationVisibility,
    MessageRole,
    RunKind,
    RunState,
    StepKind,
    StepState,
)
from ideplatform.kit import ids
from ideplatform.kit.columns import choices, one_of
from workspaces.models import Workspace

MAX_EVENT_BYTES = 65_536
_GATEWAY = ConversationOrigin.GATEWAY.value
_PRIVATE = ConversationVisibility.PRIVATE.value


class VerbatimJSONField(models.JSONField):
    """JSON kept byte for byte: a frame read back is the frame that was sent."""

    def db_type(self, connection: object) -> str:
        return "json"

    def from_db_value(self, value: object, *_: object) -> object:
        """The driver has read it already."""
        return value


class Conversation(models.Model):
    """A thread of messages between a person and agents, or a gateway client's with a model.

    Only gateway clients may work outside every workspace; then nobody but the person reads it.
    `agent_id` of their conversations is the client's name, unless an agent answers as the model.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    workspace = models.ForeignKey(Workspace, models.CASCADE, null=True, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    agent_id = models.CharField(max_length=100)
    title = models.CharField(max_length=200, blank=True, default="")
    parent = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="+")
    root = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="+")
    origin = models.CharField(max_length=10, choices=choices(ConversationOrigin))
    visibility = models.CharField(
        max_length=10,
        choices=choices(ConversationVisibility),
        default=ConversationVisibility.PRIVATE,
    )
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "agent_conversations"
        indexes = [
            models.Index(
                F("workspace"), F("agent_id"), F("updated_at").desc(), name="conversations_recent"
            ),
            models.Index(F("user"), F("updated_at").desc(), name="conversations_of_user"),
        ]
        constraints = [
            one_of("origin", ConversationOrigin, "conversations_origin"),
            one_of("visibility", ConversationVisibility, "conversations_visibility"),
            models.CheckConstraint(
                condition=Q(workspace__isnull=False) | Q(origin=_GATEWAY, visibility=_PRIVATE),
                name="conversations_workspace",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class Message(models.Model):
    """One message. Append-only by trigger; a correction is a new row that supersedes."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="messages")
    no = models.PositiveIntegerField()
    role = models.CharField(max_length=10, choices=choices(MessageRole))
    parts = models.JSONField()
    run_id = models.UUIDField(null=True, blank=True)
    author_id = models.UUIDField(null=True, blank=True)
    model = models.CharField(max_length=255, blank=True, default="")
    usage_event_id = models.UUIDField(null=True, blank=True)
    supersedes = models.PositiveIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "agent_messages"
        constraints = [
            models.UniqueConstraint(fields=["conversation", "no"], name="agent_messages_no"),
            one_of("role", MessageRole, "agent_messages_role"),
        ]

    def __str__(self) -> str:
        return f"{self.conversation_id} {self.no}"


class GatewayThread(models.Model):
    """A gateway client's session: the key by which its calls are joined, and its title.

    The row is the lock under which its conversations grow.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+")
    session_key = models.CharField(max_length=160)
    title = models.CharField(max_length=200, blank=True, default="")
    titled_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "gateway_threads"
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "user", "session_key"], name="gateway_threads_session"
            )
        ]

    def __str__(self) -> str:
        return f"{self.session_key}"


class GatewayTurn(models.Model):
    """What a person had said in a session when a call was made, and where that is kept.

    `digest` is of every message of theirs up to this one, so that a client's resent history finds
    its place. `exchange_id` and `asked_at` are of the latest call that was asked so;
    `answer_no` is the number of the message that answered it, `last_no` of the turn's last message.
    """

    thread = models.ForeignKey(GatewayThread, models.CASCADE, related_name="turns")
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="+")
    position = models.PositiveIntegerField()
    digest = models.BinaryField(max_length=32)
    exchange_id = models.UUIDField()
    asked_at = models.DateTimeField()
    answer_no = models.PositiveIntegerField(null=True)
    last_no = models.PositiveIntegerField()

    class Meta:
        db_table = "gateway_turns"
        constraints = [
            models.UniqueConstraint(
                fields=["conversation", "position"], name="gateway_turns_position"
            )
        ]
        indexes = [models.Index(fields=["thread", "digest"], name="gateway_turns_digest")]

    def __str__(self) -> str:
        return f"{self.conversation_id} {self.position}"


class SeedConversation(models.Model):
    """The view `conversations`: the founding schema's columns, read-only."""

    id = models.UUIDField(primary_key=True)
    workspace = models.ForeignKey(Workspace, models.DO_NOTHING, null=True, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.DO_NOTHING, related_name="+")
    agent_id = models.CharField(max_length=100)
    messages = models.JSONField()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        db_table = "conversations"
        managed = False

    def __str__(self) -> str:
        return str(self.id)


class Run(models.Model):
    """One request to an agent. `fence` and `last_seq` guard its journal."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    kind = models.CharField(max_length=15, choices=choices(RunKind), default=RunKind.AGENT)
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="runs")
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="+")
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    api_key_id = models.UUIDField(null=True, blank=True)
    agent_id = models.CharField(max_length=100)
    parent = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="+")
    root = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="+")
    request = models.JSONField()
    state = models.CharField(max_length=12, choices=choices(RunState), default=RunState.QUEUED)
    fence = models.BigIntegerField(default=0)
    last_seq = models.BigIntegerField(default=0)
    attempt = models.PositiveIntegerField(default=1)
    limits = models.JSONField()
    spent = models.JSONField()
    is_tainted = models.BooleanField(default=False, db_column="tainted")
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)
    request_hash = models.BinaryField(max_length=32)
    error = models.JSONField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "runs"
        indexes = [
            models.Index(F("workspace"), F("created_at").desc(), F("id").desc(), name="runs_recent")
        ]
        constraints = [
            one_of("kind", RunKind, "runs_kind"),
            one_of("state", RunState, "runs_state"),
            models.CheckConstraint(
                condition=Q(state__in=ACTIVE, ended_at__isnull=True)
                | (~Q(state__in=ACTIVE) & Q(ended_at__isnull=False)),
                name="runs_ended_at",
            ),
            models.UniqueConstraint(
                fields=["actor", "idempotency_key"], name="runs_idempotency_key"
            ),
            models.UniqueConstraint(
                fields=["conversation"],
                condition=Q(state__in=ACTIVE, parent__isnull=True),
                name="runs_one_active",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class RunStep(models.Model):
    """One model or tool call. `running` commits before the effect."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    run = models.ForeignKey(Run, models.CASCADE, related_name="steps")
    node_path = models.CharField(max_length=255)
    kind = models.CharField(max_length=10, choices=choices(StepKind))
    parent_step = models.ForeignKey("self", models.CASCADE, null=True, related_name="+")
    attempt = models.PositiveIntegerField(default=1)
    state = models.CharField(max_length=12, choices=choices(StepState))
    input_hash = models.CharField(max_length=64, blank=True, default="")
    output = models.JSONField(null=True)
    usage = models.JSONField(null=True)
    started_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "run_steps"
        constraints = [
            one_of("kind", StepKind, "run_steps_kind"),
            one_of("state", StepState, "run_steps_state"),
            models.UniqueConstraint(
                fields=["run", "node_path", "attempt"], name="run_steps_attempt"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} {self.node_path}"


class RunEvent(models.Model):
    """One journal row. Append-only by trigger; retention deletes whole runs' rows."""

    pk = models.CompositePrimaryKey("run_id", "seq")
    run = models.ForeignKey(Run, models.CASCADE, related_name="events")
    seq = models.BigIntegerField()
    fence = models.BigIntegerField()
    step_id = models.UUIDField(null=True)
    type = models.CharField(max_length=20)
    payload = VerbatimJSONField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "run_events"

    def __str__(self) -> str:
        return f"{self.run_id} {self.seq}"


class RunLease(models.Model):
    """Who owns a run, until when by the database's clock. Gone when the run has ended."""

    run = models.OneToOneField(Run, models.CASCADE, primary_key=True, related_name="lease")
    owner = models.CharField(max_length=100, blank=True, default="")
    fence = models.BigIntegerField(default=0)
    expires_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "run_leases"
        indexes = [models.Index(fields=["expires_at"], name="run_leases_expiry")]

    def __str__(self) -> str:
        return f"{self.run_id} {self.owner}"


class RunCommand(models.Model):
    """What somebody asked of a run's owner; `taken_seq` is the event that answered it."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="commands")
    kind = models.CharField(max_length=15, choices=choices(CommandKind))
    payload = models.JSONField(default=dict)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    dedupe_key = models.CharField(max_length=100, blank=True, default="")
    taken_seq = models.BigIntegerField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "run_commands"
        constraints = [
            one_of("kind", CommandKind, "run_commands_kind"),
            models.UniqueConstraint(fields=["run", "kind", "dedupe_key"], name="run_commands_once"),
        ]
        indexes = [
            models.Index(
                fields=["run"], condition=Q(taken_seq__isnull=True), name="run_commands_open"
            )
        ]

    def __str__(self) -> str:
        return f"{self.run_id} {self.kind}"
