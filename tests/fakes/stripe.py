"""Stripe on the wire: a stateful server that refuses every request that Stripe's shapes refuse.

It remembers idempotency keys for 24 hours, can be away in three ways, and signs
what it tells. A request that is no valid one is also kept in `faults`, which the fixture checks.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

from tests.fakes import stripe_shapes as shapes

DAY_S = 86_400
Outage = Literal["", "refused", "lost", "broken"]
_KEYED = {"/v1/customers", "/v1/checkout/sessions", "/v1/payment_intents", "/v1/refunds"}
_PREFIX = {
    "customer": "cus",
    "checkout.session": "cs_test",
    "payment_intent": "pi",
    "charge": "ch",
    "refund": "re",
    "dispute": "dp",
    "event": "evt",
    "billing_portal.session": "bps",
}
Object = dict[str, Any]


class Refused(Exception):
    """An error answer of Stripe."""

    def __init__(self, status: int, kind: str, message: str, **more: object) -> None:
        super().__init__(message)
        self.status = status
        self.body: Object = {"error": {"type": kind, "message": message} | more}


@dataclass
class FakeStripe:
    """The account's state, what was asked of it, and how it behaves."""

    key: str
    secrets: list[str]
    livemode: bool = False
    outage: Outage = ""
    outage_at: str = "/"
    declines: bool = False
    objects: dict[str, dict[str, Object]] = field(default_factory=dict)
    events: list[Object] = field(default_factory=list)
    requests: list[tuple[str, str, Object]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    answered: dict[str, tuple[str, int, Object, int]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def reset(self) -> None:
        """A new account."""
        self.outage, self.outage_at, self.declines = "", "/", False
        for kept in (self.objects, self.answered):
            kept.clear()
        for listed in (self.events, self.requests, self.faults):
            listed.clear()

    def age(self, hours: int) -> None:
        """Let everything that happened lie further back."""
        for one in (one for objects in self.objects.values() for one in objects.values()):
            one["created"] -= hours * 3_600
        self.answered = {
            key: (encoded, status, body, at - hours * 3_600)
            for key, (encoded, status, body, at) in self.answered.items()
        }

    def is_away(self, how: Outage, path: str) -> bool:
        return self.outage == how and path.startswith(self.outage_at)

    def of(self, kind: str) -> list[Object]:
        """All objects of a kind, oldest first."""
        return list(self.objects.get(kind, {}).values())

    def asked(self, method: str, path: str) -> list[Object]:
        """The parameters of the requests to a path, in order."""
        return [given for m, p, given in self.requests if (m, p) == (method, path)]

    # What happens at Stripe.

    def pay(self, session_id: str, *, card: str = "pm_card_visa") -> Object:
        """A person pays on the page; answers the payment."""
        session = self.objects["checkout.session"][session_id]
        intent = self._intent(
            amount=session["amount_total"],
            currency=session["currency"],
            customer=session["customer"],
            payment_method=card,
            **session.pop("_intent"),
        )
        session.update(status="complete", payment_status="paid", payment_intent=intent["id"])
        self._succeed(intent)
        self.tell("checkout.session.completed", session)
        return intent

    def expire(self, session_id: str) -> None:
        session = self.objects["checkout.session"][session_id]
        session.update(status="expired", url=None)
        self.tell("checkout.session.expired", session)

    def refund(
        self, intent_id: str, amount: int, *, status: str = "succeeded", **more: Any
    ) -> Object:
        """Give money back, from the dashboard or by request."""
        intent = self.objects["payment_intent"][intent_id]
        gone = sum(
            one["amount"]
            for one in self.of("refund")
            if one["payment_intent"] == intent_id and one["status"] not in ("failed", "canceled")
        )
        if intent["status"] != "succeeded" or amount > intent["amount_received"] - gone:
            raise Refused(
                400, "invalid_request_error", "more than is left", code="charge_already_refunded"
            )
        refund = self._new(
            "refund", amount=amount, currency=intent["currency"], payment_intent=intent_id,
            charge=intent["latest_charge"], status=status, **more,
        )  # fmt: skip
        self.tell("refund.created", refund)
        return refund

    def set_refund(self, refund_id: str, status: str) -> None:
        refund = self.objects["refund"][refund_id]
        refund["status"] = status
        self.tell("refund.failed" if status == "failed" else "refund.updated", refund)

    def dispute(self, intent_id: str, amount: int, *, status: str = "needs_response") -> Object:
        intent = self.objects["payment_intent"][intent_id]
        dispute = self._new(
            "dispute", amount=amount, currency=intent["currency"], payment_intent=intent_id,
            charge=intent["latest_charge"], status=status,
        )  # fmt: skip
        self.tell("charge.dispute.created", dispute)
        return dispute

    def set_dispute(self, dispute_id: str, status: str) -> None:
        dispute = self.objects["dispute"][dispute_id]
        dispute["status"] = status
        closed = status in ("won", "lost")
        self.tell("charge.dispute.closed" if closed else "charge.dispute.updated", dispute)

    def delete_customer(self, customer_id: str) -> None:
        """Delete a customer in the dashboard: of it only the id is left."""
        customer = self.objects["customer"][customer_id]
        self.tell("customer.deleted", customer)
        self.objects["customer"][customer_id] = {
            "id": customer_id, "object": "customer", "deleted": True,
            "created": customer["created"],
        }  # fmt: skip

    def tell(self, kind: str, subject: Object) -> Object:
        """Something happened: an event, which tests deliver or lose."""
        event = self._new(
            "event", type=kind, api_version=shapes.version(),
            data={"object": json.loads(json.dumps(subject))},
        )  # fmt: skip
        self.events.append(event)
        return event

    def signed(
        self, event: Object, *, age_s: int = 0, secret: str | None = None
    ) -> tuple[bytes, str]:
        """An event's body and the header that signs it, as sent `age_s` seconds ago."""
        body = json.dumps(event).encode()
        sent_at = int(time.time()) - age_s
        signing = secret or self.secrets[0]
        mac = hmac.new(signing.encode(), b"%d." % sent_at + body, hashlib.sha256).hexdigest()
        return body, f"t={sent_at},v1={mac}"

    # How it answers.

    def answer(self, method: str, path: str, encoded: str, headers: Any) -> tuple[int, Object]:
        with self._lock:
            try:
                return self._answer(method, path, encoded, headers)
            except Refused as refused:
                return refused.status, refused.body

    def _answer(self, method: str, path: str, encoded: str, headers: Any) -> tuple[int, Object]:
        if headers["Authorization"] != f"Bearer {self.key}":
            raise Refused(401, "invalid_request_error", "unknown key")
        try:
            template, names, operation = shapes.operation(method, path)
        except LookupError as unknown:
            self.faults.append(f"{unknown}")
            raise Refused(404, "invalid_request_error", "unrecognised URL") from None
        given, wrong = shapes.parameters(operation, encoded)
        key = headers.get("Idempotency-Key", "")
        if method == "POST" and template in _KEYED and not key:
            wrong.append("no Idempotency-Key")
        if headers.get("Stripe-Version") != shapes.version():
            wrong.append(f"Stripe-Version {headers.get('Stripe-Version')}")
        if wrong:
            self.faults += [f"{method} {path} {one}" for one in wrong]
            raise Refused(400, "invalid_request_error", "; ".join(wrong))
        self.requests.append((method, path, given))
        return self._once(key, path, encoded, lambda: self._do(method, template, names, given))

    def _once(self, key: str, path: str, encoded: str, act: Any) -> tuple[int, Object]:
        known = self.answered.get(key)
        if key and known and int(time.time()) - known[3] < DAY_S:
            if known[0] != encoded:
                raise Refused(400, "idempotency_error", "the key stands for other parameters")
            return known[1], known[2]
        if self.is_away("broken", path):
            status, body = 500, {"error": {"type": "api_error", "message": "broken"}}
        else:
            try:
                status, body = 200, act()
            except Refused as refused:
                status, body = refused.status, refused.body
        if key:
            self.answered[key] = (encoded, status, json.loads(json.dumps(body)), int(time.time()))
        return status, body

    def _do(self, method: str, template: str, names: dict[str, str], given: Object) -> Object:
        match (method, template):
            case ("POST", "/v1/customers"):
                return self._tell_of("customer.created", self._new("customer", **given))
            case ("POST", "/v1/checkout/sessions"):
                return self._session(given)
            case ("POST", "/v1/payment_intents"):
                return self._charge(given)
            case ("POST", "/v1/refunds"):
                return self.refund(
                    given["payment_intent"], given["amount"],
                    reason=given.get("reason"), metadata=given.get("metadata", {}),
                )  # fmt: skip
            case ("POST", "/v1/billing_portal/sessions"):
                self._payer(given["customer"])
                return self._new("billing_portal.session", **given)
            case ("GET", _) if names:
                (name,) = names.values()
                return self._find(_kind(template), name)
            case ("GET", _):
                return self._list(template, given)
        raise Refused(404, "invalid_request_error", f"the fake does not do {method} {template}")

    def _session(self, given: Object) -> Object:
        self._payer(given["customer"])
        (line,) = given["line_items"]
        price = line["price_data"]
        intent = given.get("payment_intent_data", {})
        session = self._new(
            "checkout.session", customer=given["customer"], status="open", payment_intent=None,
            amount_total=price["unit_amount"] * line["quantity"], currency=price["currency"],
            metadata=given.get("metadata", {}), success_url=given["success_url"],
        )  # fmt: skip
        session["url"] = f"https://checkout.stripe.com/c/pay/{session['id']}"
        session["_intent"] = {
            "metadata": intent.get("metadata", {}),
            "setup_future_usage": intent.get("setup_future_usage"),
        }
        return session

    def _charge(self, given: Object) -> Object:
        self._payer(given["customer"])
        known = ("amount", "currency", "customer", "payment_method", "metadata")
        intent = self._intent(**{name: given[name] for name in known})
        if self.declines:
            intent["status"] = "requires_payment_method"
            self.tell("payment_intent.payment_failed", intent)
            raise Refused(
                402, "card_error", "declined", code="card_declined", payment_intent=intent
            )
        self._succeed(intent)
        return intent

    def _intent(self, **values: Any) -> Object:
        return self._new("payment_intent", **({"setup_future_usage": None} | values))

    def _succeed(self, intent: Object) -> None:
        charge = self._new("charge", amount=intent["amount"], payment_intent=intent["id"])
        intent.update(
            status="succeeded", amount_received=intent["amount"], latest_charge=charge["id"]
        )
        self.tell("payment_intent.succeeded", intent)

    def _list(self, template: str, given: Object) -> Object:
        found = self.of(_kind(template))[::-1]
        for name in ("customer", "payment_intent"):
            found = [one for one in found if name not in given or one[name] == given[name]]
        if "types" in given:
            found = [one for one in found if one["type"] in given["types"]]
        found = [one for one in found if one["created"] >= given.get("created", {}).get("gte", 0)]
        if "starting_after" in given:
            places = [one["id"] for one in found]
            found = found[places.index(given["starting_after"]) + 1 :]
        limit = given.get("limit", 10)
        return {
            "object": "list",
            "url": template,
            "has_more": len(found) > limit,
            "data": found[:limit],
        }

    def _tell_of(self, kind: str, subject: Object) -> Object:
        self.tell(kind, subject)
        return subject

    def _payer(self, name: str) -> Object:
        """A customer that something can be made for."""
        found = self._find("customer", name)
        if found.get("deleted"):
            raise Refused(400, "invalid_request_error", "no such customer", code="resource_missing")
        return found

    def _find(self, kind: str, name: str) -> Object:
        found = self.objects.get(kind, {}).get(name)
        if found is None:
            raise Refused(404, "invalid_request_error", "no such object", code="resource_missing")
        return found

    def _new(self, kind: str, **values: Any) -> Object:
        made = shapes.fixture(kind, **values)
        made["id"] = f"{_PREFIX[kind]}_{next(self._numbers)}"
        made["created"] = int(time.time())
        if "livemode" in made:
            made["livemode"] = self.livemode
        self.objects.setdefault(kind, {})[made["id"]] = made
        return made


def _kind(template: str) -> str:
    return {
        "customers": "customer",
        "checkout": "checkout.session",
        "payment_intents": "payment_intent",
        "refunds": "refund",
        "disputes": "dispute",
        "events": "event",
    }[template.split("/")[2]]


@contextmanager
def running(fake: FakeStripe, *, port: int) -> Iterator[FakeStripe]:
    """Serve it on a port until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _handler(fake))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def _handler(fake: FakeStripe) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            target = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            encoded = self.rfile.read(length).decode() if length else target.query
            self.close_connection = True
            if fake.is_away("refused", target.path):
                return
            status, body = fake.answer(self.command, target.path, encoded, self.headers)
            if fake.is_away("lost", target.path):
                return
            raw = json.dumps({k: v for k, v in body.items() if not k.startswith("_")}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = _serve  # noqa: N815  (the base class names them)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (as above)
            """Silent."""

    return Handler
