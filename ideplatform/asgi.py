"""The one ASGI application: gateway, health, sockets, Django. Guards stand before every parser."""

from __future__ import annotations

import os
from typing import cast

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ideplatform.settings")

from django.core.asgi import get_asgi_application

django_app = get_asgi_application()

from asgiref.typing import ASGI3Application  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402

from ideplatform.kit.guards import Guard  # noqa: E402
from ideplatform.sockets import routes  # noqa: E402
from ideplatform.status import Status  # noqa: E402
from providers.gateway.app import Gateway  # noqa: E402

# The gateway stands outside of the guard: it has its own, which speaks its clients' dialects.
application = Gateway(
    Guard(
        ProtocolTypeRouter(
            {
                # Django's own annotation of its handler is narrower than the ASGI it speaks.
                "http": Status(cast("ASGI3Application", django_app)),
                "websocket": URLRouter(routes),
            }
        )
    )
)
