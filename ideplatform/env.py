"""Every setting of the platform in one typed class.

`.env.example` and `docs/reference/configuration.md` are generated from it. All faults of an
environment are reported at once, by name and never with their values.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Names = Annotated[tuple[str, ...], NoDecode]
STRIPE_API = "https://api.stripe.com"


class Env(BaseSettings):
    """The environment of one process. Defaults suit the embedded platform on one machine."""

    model_config = SettingsConfigDict(extra="ignore", hide_input_in_errors=True, frozen=True)

    environment: Literal["embedded", "test", "production"] = Field(
        "embedded",
        description="Production refuses debug, failpoints, the simulator and weak secrets.",
    )
    debug: bool = Field(False, description="Django's debug pages; never in production.")

    secret_key: SecretStr = Field(description="Django's signing key, at least 32 bytes.")
    jwt_keys: SecretStr = Field(
        description="`kid:key` pairs with commas; the first signs access tokens, all verify."
    )
    api_key_peppers: SecretStr = Field(
        description="`version:pepper` pairs with commas for the HMAC of API keys; the first is new."
    )
    vault_master_keys: SecretStr = Field(
        SecretStr(""),
        description="`version:base64 of 32 bytes` pairs with commas; the highest version wraps.",
    )
    vault_master_keys_file: str = Field(
        "",
        description=(
            "Instead of VAULT_MASTER_KEYS: a file of such pairs, one a line, that only its owner "
            "may write."
        ),
        validate_default=True,
    )

    database_url: str = Field(description="PostgreSQL of the application role.")
    database_owner_url: str = Field(
        "", description="PostgreSQL of the role that `manage.py migrate` uses; empty: DATABASE_URL."
    )
    db_pool_max: int = Field(
        10, ge=1, le=200, description="Connections of a process, beside two of money."
    )
    db_pool_wait_s: float = Field(5, gt=0, description="Seconds to wait for a connection.")
    db_statement_timeout_ms: int = Field(15_000, ge=100, description="Longest statement.")
    db_lock_timeout_ms: int = Field(2_000, ge=100, description="Longest wait for a lock.")
    db_transaction_timeout_ms: int = Field(
        5_000, ge=100, description="Longest transaction; the access feed relies on it."
    )

    redis_url: str = Field(description="Redis: bell, tails, limits, caches and the broker.")
    redis_broker_url: str = Field("", description="Redis of the task queue; empty: REDIS_URL.")
    redis_bus_url: str = Field("", description="Redis of bells; empty: REDIS_URL.")
    redis_tail_url: str = Field("", description="Redis of run tails; empty: REDIS_URL.")
    redis_cache_url: str = Field("", description="Redis of caches and limits; empty: REDIS_URL.")
    celery_broker_url: str = Field("", description="Broker; empty: REDIS_BROKER_URL.")

    data_dir: Path = Field(Path(".ide"), description="Embedded stores, logs and secrets.")
    public_url: str = Field("http://127.0.0.1:8000", description="Where clients reach us.")
    allowed_hosts: Names = Field(
        ("localhost", "127.0.0.1", "[::1]"),
        description="Host names served, with commas.",
    )
    allowed_origins: Names = Field(
        (),
        description="Origins whose pages may use a browser's session, beside PUBLIC_URL.",
    )
    trusted_proxy_count: int = Field(0, ge=0, description="Proxies in front that set headers.")

    web_processes: int = Field(1, ge=1, description="Web processes; scales local limiters.")
    agent_threads: int = Field(512, ge=1, description="Concurrent runs of one agents worker.")
    default_processes: int = Field(2, ge=1, description="Processes of the default worker.")
    drain_s: float = Field(30, ge=0, description="Seconds open requests get at a shutdown.")
    drain_grace_s: float = Field(5, ge=0, description="Seconds of service after /ready turns 503.")
    socket_spread_s: float = Field(10, ge=0, description="Seconds over which sockets close.")

    metrics_port: int = Field(9090, ge=0, le=65535, description="Own port of /metrics; 0: none.")
    metrics_host: str = Field("127.0.0.1", description="Address of the metrics port.")
    log_format: Literal["console", "json"] = Field("console", description="Form of log lines.")
    log_level: str = Field("info", description="Lowest level that is logged.")

    email_verification: Literal["optional", "mandatory"] = Field(
        "optional",
        description="Whether an address must be verified before the first sign-in.",
    )
    email_url: SecretStr = Field(
        SecretStr(""),
        description="`smtps://`, `smtp+tls://` (STARTTLS) or `smtp://` with user, password, host"
        " and port of the mail server; empty: mails go to the log's console.",
    )
    email_from: str = Field(
        "IDE Mundial <noreply@localhost>", description="Sender of the platform's mails."
    )
    access_token_s: int = Field(600, ge=30, description="Life of an access token, seconds.")
    refresh_token_s: int = Field(30 * 86_400, ge=60, description="Sliding life of a session.")
    session_absolute_s: int = Field(90 * 86_400, ge=60, description="Longest life of a session.")

    egress_allow: Names = Field(
        (), description="host:port or CIDR:port that egress may reach although private."
    )
    simulated_provider_url: str = Field("", description="Base URL of the simulated provider.")
    openai_api_key: SecretStr | None = Field(
        None, description="Makes an account of the platform at OpenAI when a database is prepared."
    )
    anthropic_api_key: SecretStr | None = Field(None, description="The same at Anthropic.")
    google_api_key: SecretStr | None = Field(
        None,
        description="The same at Google.",
        validation_alias=AliasChoices("GOOGLE_API_KEY", "GEMINI_API_KEY"),
    )

    agent_runner: Literal["celery", "inline"] = Field(
        "celery",
        description="`inline` executes runs in the web process (benchmark floor).",
    )
    billing_welcome_credit_usd: Decimal = Field(
        Decimal(5), ge=0, description="Promotional credit of a person and of their first team, USD."
    )
    billing_min_lease_s: int = Field(
        120, ge=10, description="Life of a hold whose call is not heard of, at least; seconds."
    )
    billing_batch_linger_ms: float = Field(
        2,
        ge=0,
        le=50,
        description="How long money's next batch waits for others after a batch of more than 3.",
    )
    billing_batch_max: int = Field(
        200, ge=1, le=1_000, description="Calls reserved or settled in one transaction, at most."
    )
    billing_two_person_usd: Decimal = Field(
        Decimal(100),
        ge=0,
        description=(
            "What an operator may move alone at once, USD; five times that in a day, half of it "
            "on a vendor's bill. `manage.py migrate` brings it into the database."
        ),
    )

    gateway_max_body_mb: int = Field(
        32, ge=1, le=256, description="Largest request of `/v1/*`, MiB."
    )
    gateway_calls_per_minute: int = Field(
        3_000, ge=1, le=1_000_000, description="Requests of one user to `/v1/*` in a minute."
    )
    gateway_first_byte_s: float = Field(
        30, gt=0, le=3_600, description="Wait for a vendor's first token, seconds."
    )
    gateway_reasoning_first_byte_s: float = Field(
        300, gt=0, le=3_600, description="The same for a call that thinks before it answers."
    )
    gateway_idle_s: float = Field(
        30, gt=0, le=3_600, description="Longest silence of a vendor amid an answer, seconds."
    )
    gateway_total_s: float = Field(
        900,
        gt=0,
        le=86_400,
        description="Longest call of `/v1/*`, further tries included, seconds.",
    )
    gateway_drain_s: float = Field(
        10,
        ge=0,
        le=300,
        description="How long an answer is read on for its exact count when its client is gone.",
    )
    gateway_drains_max: int = Field(
        64, ge=0, le=10_000, description="Answers read on at once in a process; others are cut."
    )
    gateway_capture: Literal["full", "metadata", "off"] = Field(
        "full", description="What is kept of gateway calls where an organization has not said."
    )
    gateway_exchange_days: int = Field(
        30, ge=1, le=3_650, description="Days that a gateway call's record is kept."
    )
    gateway_responses_days: int = Field(
        30, ge=1, le=3_650, description="Days that a stored response can be read and continued."
    )

    stripe_secret_key: SecretStr | None = Field(
        None, description="Secret or restricted key of the Stripe account; empty: no payments."
    )
    stripe_webhook_secrets: SecretStr | None = Field(
        None, description="Signing secrets of the webhook endpoint, with commas while rotating."
    )
    stripe_livemode: bool = Field(False, description="Whether STRIPE_SECRET_KEY moves real money.")
    stripe_api_base: str = Field(STRIPE_API, description="Stripe's API; tests name their own.")

    run_lease_s: float = Field(10, gt=0, description="Life of a run's lease.")
    run_heartbeat_s: float = Field(3, gt=0, description="Pause between lease renewals.")
    run_reap_s: float = Field(2, gt=0, description="Pause between searches for expired leases.")
    journal_flush_ms: int = Field(8, ge=1, description="Batching of the live tail.")
    journal_persist_ms: int = Field(250, ge=1, description="Batching of journal rows.")
    ws_window_bytes: int = Field(262_144, ge=1_024, description="Unacknowledged bytes per run.")
    ws_queue_max_bytes: int = Field(4_194_304, ge=65_536, description="Queue of a slow socket.")

    failpoint: str = Field("", description="stage:action[@n]: faults on purpose, never live.")
    clock_offset_s: float = Field(0, description="Moves the process clock in fault tests.")

    @field_validator("allowed_hosts", "allowed_origins", "egress_allow", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return (
            tuple(part.strip() for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )

    @field_validator("vault_master_keys_file")
    @classmethod
    def _one_place_of_master_keys(cls, path: str, info: ValidationInfo) -> str:
        """Here and not after all fields, so that it is reported with every other fault."""
        if bool(path) == bool(info.data.get("vault_master_keys")):
            raise ValueError("set either VAULT_MASTER_KEYS or VAULT_MASTER_KEYS_FILE")
        return path

    @model_validator(mode="after")
    def _refuse_toys_in_production(self) -> Self:
        set_here = {
            "DEBUG": self.debug,
            "FAILPOINT": self.failpoint,
            "CLOCK_OFFSET_S": self.clock_offset_s,
            "SIMULATED_PROVIDER_URL": self.simulated_provider_url,
            "STRIPE_API_BASE": self.stripe_api_base != STRIPE_API,
        }
        if self.is_production and any(set_here.values()):
            names = ", ".join(name for name, value in set_here.items() if value)
            raise ValueError(f"production refuses {names}")
        return self

    @model_validator(mode="after")
    def _require_all_of_stripe(self) -> Self:
        key, secrets = self.stripe_secret_key, self.stripe_webhook_secrets
        if bool(key and key.get_secret_value()) != bool(secrets and secrets.get_secret_value()):
            raise ValueError("give STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRETS together")
        mode = re.match(r"[a-z]+_(live|test)_", key.get_secret_value()) if key else None
        if mode and (mode[1] == "live") != self.stripe_livemode:
            raise ValueError("STRIPE_LIVEMODE is not the mode of STRIPE_SECRET_KEY")
        return self

    @property
    def is_production(self) -> bool:
        return self.environment == "production"

    @property
    def trusted_origins(self) -> tuple[str, ...]:
        """Our own origin and the listed ones: pages that may use a browser's session."""
        own = urlsplit(self.public_url)
        return f"{own.scheme}://{own.netloc}", *self.allowed_origins


def load() -> Env:
    """The environment, or one message that names every wrong variable."""
    try:
        return Env()  # type: ignore[call-arg]  # pydantic fills the fields from the environment
    except ValidationError as wrong:
        lines = [f"  {_name(e['loc'])}: {e['msg']}" for e in wrong.errors(include_input=False)]
        raise SystemExit("The environment is not complete:\n" + "\n".join(lines)) from None


def _name(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location).upper() or "ENVIRONMENT"
