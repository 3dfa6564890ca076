"""Every WebSocket route."""

from __future__ import annotations

from django.urls import path

from agents.consumers import AgentStream

routes = [path("api/v1/ws/agents", AgentStream.as_asgi())]
