"""Entering and leaving: `/api/v1/auth/{register,login,refresh,logout,token,ws-ticket,...}`."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api import serializers
from accounts.api.authentication import NoAuthentication, actor_of, ip_of
from accounts.errors import SessionRequired
from accounts.services import login, passwords, registration, sessions, tickets
from accounts.services.authentication import Credential, Source
from accounts.types import Permission
from ideplatform.kit import throttle
from ideplatform.kit.serializers import read


def _agent(request: Request) -> str:
    return str(request.headers.get("User-Agent", ""))


class Register(APIView):
    public = "whoever has no account makes one"
    authentication_classes = (NoAuthentication,)

    def post(self, request: Request) -> Response:
        form = read(serializers.RegisterForm, request)
        done = registration.register(**form, ip=ip_of(request), user_agent=_agent(request))
        body = {"user": serializers.user(done.user)} | serializers.tokens(done.tokens)
        return Response(body, status=201)


class Login(APIView):
    public = "whoever has an account proves it here"
    authentication_classes = (NoAuthentication,)

    def post(self, request: Request) -> Response:
        form = read(serializers.LoginForm, request)
        done = login.sign_in(**form, ip=ip_of(request), user_agent=_agent(request))
        return Response({"user": serializers.user(done.user)} | serializers.tokens(done.tokens))


class Refresh(APIView):
    public = "the refresh token in the body is the credential"
    authentication_classes = (NoAuthentication,)

    def post(self, request: Request) -> Response:
        form = read(serializers.RefreshForm, request)
        ip = ip_of(request)
        throttle.take(throttle.of_ip(throttle.REFRESH, ip))
        return Response(serializers.tokens(sessions.rotate(refresh=form["refresh"], ip=ip)))


class Logout(APIView):
    permissions = {"POST": Permission.SELF}

    def post(self, request: Request) -> Response:
        sessions.log_out(actor=actor_of(request))
        return Response(status=204)


class BrowserTokens(APIView):
    """A browser session (cookie and CSRF token) becomes a pair of the same session."""

    permissions = {"POST": Permission.SELF}

    def post(self, request: Request) -> Response:
        credential = request.auth
        if not isinstance(credential, Credential) or credential.source != Source.COOKIE:
            raise SessionRequired("only a browser session is exchanged for tokens")
        return Response(serializers.tokens(sessions.tokens_of(actor=actor_of(request))))


class Ticket(APIView):
    permissions = {"POST": Permission.SELF}

    def post(self, request: Request) -> Response:
        form = read(serializers.TicketForm, request)
        ticket, expires_at = tickets.create(
            actor=actor_of(request), path=form["path"], is_reusable=form["reusable"]
        )
        return Response({"ticket": ticket.reveal(), "expires_at": expires_at}, status=201)


class Reauthenticate(APIView):
    permissions = {"POST": Permission.SELF}

    def post(self, request: Request) -> Response:
        form = read(serializers.PasswordForm, request)
        passwords.reauthenticate(actor=actor_of(request), password=form["password"])
        return Response(status=204)


class PasswordChange(APIView):
    permissions = {"POST": Permission.SELF}

    def post(self, request: Request) -> Response:
        form = read(serializers.PasswordChangeForm, request)
        passwords.change(
            actor=actor_of(request), old=form["old_password"], new=form["new_password"]
        )
        return Response(status=204)
