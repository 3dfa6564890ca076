"""Django's settings, all derived from `ideplatform.env.Env`."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from urllib.parse import unquote, urlsplit

from django.templatetags.static import static

from ideplatform import env
from ideplatform.observability import logs

BASE_DIR = Path(__file__).resolve().parents[1]
ENV = env.load()
# Outside production the files are served from where they lie; the warning would be noise.
warnings.filterwarnings("ignore", "No directory at", UserWarning)

SECRET_KEY = ENV.secret_key.get_secret_value()
DEBUG = ENV.debug and not ENV.is_production
ALLOWED_HOSTS = list(ENV.allowed_hosts)
ROOT_URLCONF = "ideplatform.urls"
ASGI_APPLICATION = "ideplatform.asgi.application"
WSGI_APPLICATION = "ideplatform.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "accounts.User"
APPEND_SLASH = False
TIME_ZONE = "UTC"
USE_TZ = True
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("pt-br", "Português (Brasil)")]
LOCALE_PATHS = [BASE_DIR / "locale"]
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True
DATA_UPLOAD_MAX_MEMORY_SIZE = None  # kit.guards bounds every body, per path, before Django reads

INSTALLED_APPS = [
    "ideplatform",
    # Twisted costs a second of start-up: only `runserver`, which daphne serves, pays it.
    *(["daphne"] if "runserver" in sys.argv else []),
    "unfold.apps.BasicAppConfig",
    "ideplatform.kit.admin_app.ConsoleConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "ideplatform.outbox",
    "accounts",
    "workspaces",
    "billing",
    "providers",
    "agents",
]
MIDDLEWARE = [
    "ideplatform.observability.middleware.RequestContext",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    # Last, since it is sync only: in the midst of others that can be async it makes Django cross
    # between the event loop and a thread within the chain, once more for each one after it.
    "accounts.middleware.BrowserSession",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "accounts.web.appearance.context",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def _database(url: str) -> dict[str, object]:
    """Django's form of a PostgreSQL URL; `?host=/dir` names a socket directory."""
    parts = urlsplit(url)
    query = dict(pair.split("=", 1) for pair in parts.query.split("&") if "=" in pair)
    timeouts = (
        f"-c statement_timeout={ENV.db_statement_timeout_ms}"
        f" -c lock_timeout={ENV.db_lock_timeout_ms}"
        f" -c transaction_timeout={ENV.db_transaction_timeout_ms}"
    )
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(query.get("host", parts.hostname or "")),
        "PORT": str(query.get("port", parts.port or "")),
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "pool": {
                "min_size": 0,
                "max_size": ENV.db_pool_max,
                "timeout": ENV.db_pool_wait_s,
            },
            "options": timeouts,
            "application_name": "ide-mundial",
        },
    }


# Only the owner of the tables may change them; every other process has the application's role.
_is_migration = sys.argv[1:2] == ["migrate"]
DATABASES = {
    "default": _database((_is_migration and ENV.database_owner_url) or ENV.database_url),
}

AUTHENTICATION_BACKENDS = ["accounts.backends.ThrottledBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]

_MAIL = urlsplit(ENV.email_url.get_secret_value())
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if _MAIL.hostname else 'console'}.EmailBackend"
EMAIL_HOST = _MAIL.hostname or ""
EMAIL_PORT = _MAIL.port or {"smtps": 465, "smtp+tls": 587}.get(_MAIL.scheme, 25)
EMAIL_HOST_USER = unquote(_MAIL.username or "")
EMAIL_HOST_PASSWORD = unquote(_MAIL.password or "")
EMAIL_USE_SSL = _MAIL.scheme == "smtps"
EMAIL_USE_TLS = _MAIL.scheme == "smtp+tls"
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = ENV.email_from

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.api.authentication.PlatformAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.api.permissions.DeclaredPermission"],
    "DEFAULT_THROTTLE_CLASSES": ["ideplatform.kit.limits.RequestLimit"],
    "DEFAULT_PARSER_CLASSES": ["ideplatform.kit.parsers.GuardedJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["ideplatform.kit.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "ideplatform.kit.renderers.Negotiation",
    "DEFAULT_SCHEMA_CLASS": "ideplatform.kit.openapi.DescribedSchema",
    "EXCEPTION_HANDLER": "ideplatform.kit.rest.exception_handler",
    "COERCE_DECIMAL_TO_STRING": True,
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "IDE Mundial",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "POSTPROCESSING_HOOKS": [],
}

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = ENV.public_url.startswith("https://")
LANGUAGE_COOKIE_HTTPONLY, LANGUAGE_COOKIE_SAMESITE = True, "Lax"
LANGUAGE_COOKIE_SECURE = SESSION_COOKIE_SECURE
CSRF_FAILURE_VIEW = "accounts.web.views.csrf_failed"
# Our own origin too: behind a proxy that ends TLS Django takes a request for plain HTTP.
CSRF_TRUSTED_ORIGINS = list(ENV.trusted_origins)
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "connect-src": ["'self'"],
        "img-src": ["'self'", "data:", "blob:"],
        "style-src": ["'self'"],
        "font-src": ["'self'"],
        "worker-src": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
    }
}

UNFOLD = {
    "SITE_TITLE": "IDE Mundial",
    "SITE_HEADER": "IDE Mundial",
    "SITE_SUBHEADER": "Console",
    "SITE_SYMBOL": "payments",
    "SITE_FAVICONS": [{"rel": "icon", "href": "data:,"}],  # else browsers ask for /favicon.ico
    "SHOW_HISTORY": False,
    # The theme would write its colours into each page; ours are a file, as the policy asks.
    "COLORS": lambda _request: {},
    "STYLES": [lambda _request: static("console.css")],
    "SCRIPTS": [lambda _request: static("console.js")],
    "SIDEBAR": {"show_all_applications": True, "navigation": "billing.admin.sidebar.sections"},
}

LOGGING_CONFIG = None
logs.configure(form=ENV.log_format, level=ENV.log_level)
