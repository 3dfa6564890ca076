"""Language and theme: cookies, so that a page is right from its first byte, signed in or not."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse

THEME_COOKIE: Final = "theme"
THEMES: Final = ("light", "dark")
_YEAR_S: Final = 365 * 86_400


def context(request: HttpRequest) -> dict[str, str]:
    """What every template knows: the chosen theme, "" where the system's own decides."""
    return {"theme": theme_of(request), "here": request.get_full_path()}


def theme_of(request: HttpRequest) -> str:
    chosen = request.COOKIES.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else ""


def speaks(language: str) -> bool:
    return language in dict(settings.LANGUAGES)


def set_language(response: HttpResponse, language: str) -> None:
    _keep(response, settings.LANGUAGE_COOKIE_NAME, language)


def set_theme(response: HttpResponse, theme: str) -> None:
    """Keep a theme; anything but a known one lets the system decide again."""
    if theme in THEMES:
        _keep(response, THEME_COOKIE, theme)
    else:
        response.delete_cookie(THEME_COOKIE, samesite="Lax")


def _keep(response: HttpResponse, name: str, value: str) -> None:
    response.set_cookie(
        name,
        value,
        max_age=_YEAR_S,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
