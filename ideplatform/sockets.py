"""Every WebSocket route."""

from __future__ import annotations

from agents.consumers import AgentStream
from django.urls import path

routes = [path("api/v1/ws/agents", AgentStream.as_asgi())]
