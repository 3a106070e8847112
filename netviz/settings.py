"""Settings: everything runs on one machine without a service; two variables make it many machines.

NETVIZ_DATABASE_URL   a PostgreSQL URL; SQLite in var/ without
NETVIZ_REDIS_URL      channel layer, live state and Celery's broker in Redis; in this process without
NETVIZ_VAR_DIR        where the database and the generated secret live (var/)
NETVIZ_SECRET_KEY     signs sessions; generated and kept in var/ without. Needed with Redis: all
                      server processes must have the same
NETVIZ_ALLOWED_HOSTS  comma-separated host names that this server answers to; loopback without
NETVIZ_HTTPS=1        behind a proxy that speaks TLS and sets X-Forwarded-Proto: secure cookies, plain
                      http is sent to https
NETVIZ_TRUSTED_PROXIES  comma-separated addresses or networks of the proxies in front, whose
                      X-Forwarded-For is believed; without, the address of who connects counts
NETVIZ_DEBUG=1        Django's debug pages
NETVIZ_LOG_LEVEL      INFO without
NETVIZ_SNAPSHOT_MAX_BYTES  what one collector's whole state may have, before compression (256 MiB)
NETVIZ_REVOKED_STATE_S  how long the state of a node stays whose collector was revoked (600)
NETVIZ_ENTER          what runs a check command in the namespace {name}, where that isn't nsenter on its node
NETVIZ_LAB_SOCKET     where the demo's lab makes and mends faults: set by the demo alone
NETVIZ_OBSERVE=1      let operators send probes and watch where the kernels take them
NETVIZ_MASQUERADE     whether pods' packets are to leave the cluster with their node's address
                      (ipv4=yes,ipv6=no); without, what most nodes do is what all are held to
NETVIZ_METRICS_TOKEN  a Bearer token that opens /metrics and nothing else, for Prometheus
NETVIZ_EXTERNAL_URL   how people reach this server, for links in alerts
NETVIZ_WEBHOOK_URL    who is told of problems, in Alertmanager's payload; nobody without
NETVIZ_WEBHOOK_TOKEN  a Bearer token that the receiver wants
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import tempfile
from pathlib import Path
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from netviz.private import close_to_others, create_private, make_private

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(os.environ.get("NETVIZ_VAR_DIR") or BASE_DIR / "var").resolve()
# Why it cannot be used. The offline commands need nothing of it; `serve` says so and ends.
VAR_PROBLEM = ""
try:
    VAR_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
except OSError as err:
    VAR_PROBLEM = str(err)


def _secret_key() -> str:
    """Read the kept secret, or make one: of processes that start at once, all take the one that came first."""
    path = VAR_DIR / "secret.key"
    if not path.exists():
        create_private(path, secrets.token_urlsafe(48))
    close_to_others(path)
    return path.read_text().strip()


def _flag(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes", "on")


SECRET_KEY = os.environ.get("NETVIZ_SECRET_KEY", "")
SECRET_KEY_GIVEN = bool(SECRET_KEY)
if not SECRET_KEY:
    try:
        SECRET_KEY = _secret_key()
    except OSError as err:
        VAR_PROBLEM = VAR_PROBLEM or str(err)
        SECRET_KEY = secrets.token_urlsafe(48)
DEBUG = _flag("NETVIZ_DEBUG")
HTTPS = _flag("NETVIZ_HTTPS")
EXTERNAL_URL = os.environ.get("NETVIZ_EXTERNAL_URL", "").rstrip("/")
WEBHOOK_URL = os.environ.get("NETVIZ_WEBHOOK_URL", "")
WEBHOOK_TOKEN = os.environ.get("NETVIZ_WEBHOOK_TOKEN", "")
if WEBHOOK_URL and not re.match(r"https?://[^/@\s]+(/\S*)?$", WEBHOOK_URL):
    raise ImproperlyConfigured("NETVIZ_WEBHOOK_URL: an http:// or https:// address without a password")
METRICS_TOKEN = os.environ.get("NETVIZ_METRICS_TOKEN", "")
REDIS_URL = os.environ.get("NETVIZ_REDIS_URL", "")
_hosts = os.environ.get("NETVIZ_ALLOWED_HOSTS", "")
ALLOWED_HOSTS = [h.strip() for h in _hosts.split(",") if h.strip()] or ["localhost", "127.0.0.1", "[::1]"]

_proxies = os.environ.get("NETVIZ_TRUSTED_PROXIES", "")
try:
    TRUSTED_PROXIES = [ipaddress.ip_network(p.strip()) for p in _proxies.split(",") if p.strip()]
except ValueError as err:
    raise ImproperlyConfigured(f"NETVIZ_TRUSTED_PROXIES: {err}") from None

INSTALLED_APPS = [
    "netviz.apps.NetvizConfig",
    "netviz.inventory",
    "netviz.ingest",
    "netviz.topology",
    "netviz.tracing",
    "netviz.observing",
    "netviz.kubernetes",
    "netviz.problems",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "netviz.headers.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "netviz.inventory.auth.api_token",
    "netviz.inventory.audit.of_request",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "netviz.urls"
ASGI_APPLICATION = "netviz.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "netviz.inventory.waiting.waiting",
            ],
        },
    },
]

# A transaction starts as a writer, so two of them wait for each other instead of failing halfway.
# synchronous=FULL: what was acknowledged to a collector survives a power cut.
_SQLITE: dict[str, Any] = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": VAR_DIR / "netviz.sqlite3",
    "OPTIONS": {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA mmap_size=134217728;",
    },
    "TEST": {"NAME": str(Path(tempfile.gettempdir()) / f"nv-test-{os.getpid()}.sqlite3")},
}
_database_url = os.environ.get("NETVIZ_DATABASE_URL")
DATABASES: dict[str, dict[str, Any]] = {
    "default": {**dj_database_url.parse(_database_url)} if _database_url else _SQLITE
}
if _database_url:
    # A server that the network has swallowed is given up after seconds, not after TCP's quarter of an hour.
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)
    DATABASES["default"]["OPTIONS"].setdefault("tcp_user_timeout", 10_000)
else:
    # SQLite gives the files that it puts beside the database the database's own mode.
    try:
        make_private(_SQLITE["NAME"])
        for _beside in VAR_DIR.glob("netviz.sqlite3-*"):
            close_to_others(_beside)
    except OSError as err:
        VAR_PROBLEM = VAR_PROBLEM or str(err)
NEEDS_VAR = not (_database_url and SECRET_KEY_GIVEN)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

if REDIS_URL:
    # The layer waits for messages in calls of 5 s, which is also the client's own time limit for an
    # answer: without a longer one, sockets that are quiet for 5 s are ended now and then.
    _redis = {"address": REDIS_URL, "socket_timeout": 30}
    CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [_redis]}}
    }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

CELERY_BROKER_URL = REDIS_URL or "memory://localhost/"
if REDIS_URL:
    CELERY_BROKER_TRANSPORT = "netviz.broker:Transport"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # for ever
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_TIME_LIMIT = 300
# Without time limits, a Redis that has been stopped would hold whoever speaks to it.
CELERY_BROKER_TRANSPORT_OPTIONS = (
    {"socket_timeout": 10, "socket_connect_timeout": 5} if REDIS_URL else {"polling_interval": 0.02}
)

# Whether operators may send probes, on nodes whose collectors allow it.
OBSERVE = _flag("NETVIZ_OBSERVE")

# Where the lab of a demo listens for faults to make; "" in every other server, which then has no such address.
LAB_SOCKET = os.environ.get("NETVIZ_LAB_SOCKET", "")

# What runs a check command in a namespace, where that isn't nsenter on its node.
ENTER = os.environ.get("NETVIZ_ENTER", "")
try:
    ENTER.format(name="")
except (IndexError, KeyError, ValueError):
    raise ImproperlyConfigured("NETVIZ_ENTER: only {name} may stand in it, for the namespace") from None

# Whether the cluster masquerades what its pods send to the internet: by the length of an address.
try:
    MASQUERADE = {
        {"ipv4": 4, "ipv6": 16}[family]: {"yes": True, "no": False}[answer]
        for family, answer in (
            one.strip().split("=")
            for one in os.environ.get("NETVIZ_MASQUERADE", "").split(",")
            if one.strip()
        )
    }
except (KeyError, ValueError):
    raise ImproperlyConfigured("NETVIZ_MASQUERADE: ipv4=yes or no, ipv6=yes or no, comma-separated") from None

# How much of the past the journal keeps: whichever bound is met first.
JOURNAL_MAX_AGE_S = float(os.environ.get("NETVIZ_JOURNAL_MAX_AGE_S", 7 * 86400))
JOURNAL_MAX_BYTES = int(os.environ.get("NETVIZ_JOURNAL_MAX_BYTES", 512 << 20))
# How many traces a server answers within their requests at a time; what is asked beside them waits for a worker.
TRACES_AT_ONCE = int(os.environ.get("NETVIZ_TRACES_AT_ONCE", 2))
# How much the kept traces may take, packed.
TRACES_MAX_BYTES = int(os.environ.get("NETVIZ_TRACES_MAX_BYTES", 256 << 20))
REVOKED_STATE_S = float(os.environ.get("NETVIZ_REVOKED_STATE_S", 600))
# What one collector's whole state may have in bytes, inflated, before it is refused.
SNAPSHOT_MAX_BYTES = int(os.environ.get("NETVIZ_SNAPSHOT_MAX_BYTES", 256 << 20))

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "login"

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = HTTPS
SESSION_COOKIE_AGE = 7 * 86400
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SECURE = HTTPS
CSRF_FAILURE_VIEW = "netviz.errors.csrf_failure"
if HTTPS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 30 * 86400
    SECURE_SSL_REDIRECT = True
    # For probes and Prometheus beside the server, which reach it without the proxy.
    SECURE_REDIRECT_EXEMPT = ["^healthz$", "^metrics$"]
# What the domain's other hosts do is its owner's to decide, in the proxy: HSTS for subdomains, and preload.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "netviz.core.plain.PlainFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s: %(message)s",
        }
    },
    "filters": {"away": {"()": "netviz.parts.WithoutTraceback"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "netviz": {"level": os.environ.get("NETVIZ_LOG_LEVEL", "INFO").upper()},
        "django.request": {"filters": ["away"]},
        # What strangers may cause at will: a line each.
        "django.security.DisallowedHost": {"filters": ["away"]},
        "django.security.RequestDataTooBig": {"filters": ["away"]},
        "uvicorn": {"level": "WARNING"},
        "django.channels.server": {"level": "WARNING"},
    },
}
