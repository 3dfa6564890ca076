"""The console's forms: each says why, and whoever sends it twice has done it once."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from django import forms

from billing.services.adjustments import MOST_USD, Grounds
from billing.services.correction_facts import Facts
from billing.types import CorrectionReason, MarkupKind, ServiceTier, UnitClass
from ideplatform.kit import ids

MOST_COUNTED: Final = 10_000_000_000


class Dialog(forms.Form):
    """Why something is done. `token` makes it happen once."""

    token = forms.UUIDField(widget=forms.HiddenInput)
    reason = forms.CharField(max_length=300, help_text="The customer's people can read it.")
    ticket = forms.CharField(max_length=100, required=False, help_text="Where it was asked for.")
    note = forms.CharField(
        max_length=1_000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="For operators only.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("token", str(ids.new()))
        self.order_fields([name for name in self.fields if name not in Dialog.base_fields])

    def grounds(self) -> Grounds:
        given = self.cleaned_data
        return Grounds(reason=given["reason"], ticket=given["ticket"], note=given["note"])


def _amount(**options: Any) -> forms.DecimalField:
    return forms.DecimalField(max_digits=30, decimal_places=12, max_value=MOST_USD, **options)


class Amount(Dialog):
    amount_usd = _amount(label="Amount, USD", min_value=Decimal("0.000000000001"))


class Promo(Amount):
    expires_at = forms.DateTimeField(
        required=False, label="Ends (UTC)", help_text="2027-01-31 00:00; empty: never."
    )


class Limit(Dialog):
    limit_usd = _amount(label="Postpaid limit, USD", min_value=Decimal(0))


class Refund(Dialog):
    top_up = forms.UUIDField(label="Top-up", help_text="The id of a paid top-up.")
    amount_usd = forms.DecimalField(
        max_digits=12, decimal_places=2, min_value=Decimal("0.01"), label="Amount, as it was paid"
    )
    cause = forms.ChoiceField(
        choices=[
            ("requested_by_customer", "Asked for by the customer"),
            ("duplicate", "Paid twice"),
            ("fraudulent", "Fraud"),
        ]
    )


class Undo(Dialog):
    txn = forms.UUIDField(label="Transaction", help_text="The id of a ledger transaction.")


class Correction(Dialog):
    """What holds of a call from now on: its costs, and how much of each class it used."""

    correction = forms.ChoiceField(
        label="What happened",
        choices=[
            (CorrectionReason.LATE_REPORT, "The vendor reported late"),
            (CorrectionReason.PRICE_ERROR, "The price was wrong"),
            (CorrectionReason.DUPLICATE, "The call was counted twice"),
            (CorrectionReason.ESTIMATE_TRUED_UP, "An estimate became exact"),
            (CorrectionReason.GOODWILL, "Goodwill"),
        ],
    )
    billed_cost = _amount(
        label="Billed, USD",
        min_value=Decimal(0),
        required=False,
        help_text="Empty: as it is; with other counts, as these are priced.",
    )
    estimated_cost = _amount(
        label="The vendor's cost, USD",
        min_value=Decimal(0),
        required=False,
        help_text="Empty: as it is; with other counts, as these are priced.",
    )

    def __init__(self, data: Any = None, *, counts: Mapping[UnitClass, int], **kwargs: Any) -> None:
        """`counts` is what holds now: it stands in the form, and where a count is left out."""
        super().__init__(data, **kwargs)
        self.counts = counts
        for unit_class in UnitClass:
            self.fields[unit_class.value] = forms.IntegerField(
                label=unit_class.value.replace("_", " ").capitalize(),
                min_value=0,
                max_value=MOST_COUNTED,
                required=False,
                initial=counts.get(unit_class, 0),
            )
        self.order_fields([name for name in self.fields if name not in Dialog.base_fields])

    def facts(self) -> Facts:
        given = self.cleaned_data
        counts = {
            name: self.counts.get(name, 0) if given[name.value] is None else given[name.value]
            for name in UnitClass
        }
        return Facts(
            quantities={name: count for name, count in counts.items() if count},
            estimated_cost=given["estimated_cost"],
            billed_cost=given["billed_cost"],
        )


class Decision(forms.Form):
    """What an approver has seen, and the password that says it is them."""

    payload_hash = forms.CharField(max_length=64, widget=forms.HiddenInput)
    password = forms.CharField(
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
        label="Your password",
    )


class Refusal(forms.Form):
    note = forms.CharField(max_length=300, required=False)


class PriceList(forms.Form):
    """A price list in the form of billing/data/README.md."""

    note = forms.CharField(max_length=300)
    listed = forms.CharField(widget=forms.Textarea(attrs={"rows": 8}), label="Price list, JSON")


class OnePrice(forms.Form):
    """One price of a draft."""

    provider_type = forms.CharField(max_length=30, label="Vendor")
    pattern = forms.CharField(max_length=200, label="Model", help_text="* and ? match any text.")
    unit_class = forms.ChoiceField(choices=[(one.value, one.value) for one in UnitClass])
    service_tier = forms.ChoiceField(choices=[(one.value, one.value) for one in ServiceTier])
    region = forms.CharField(max_length=40, required=False)
    context_over_tokens = forms.IntegerField(min_value=0, max_value=10_000_000, initial=0)
    unit_price = forms.DecimalField(
        max_digits=24, decimal_places=15, min_value=Decimal(0), label="USD per token"
    )
    source = forms.CharField(max_length=300, required=False)


class Publish(Dialog):
    reason = forms.CharField(max_length=300, help_text="The approver reads it.")
    effective_from = forms.DateTimeField(
        required=False, label="From (UTC)", help_text="Empty: from the moment of approval."
    )
    accepts_jumps = forms.BooleanField(
        required=False, label="Prices that move by more than half are meant"
    )


class Markup(Dialog):
    """A markup, and of which calls it is; what is empty is any."""

    reason = forms.CharField(max_length=300, help_text="The approver reads it.")
    kind = forms.ChoiceField(
        choices=[
            (MarkupKind.PERCENT, "Percent of the vendor's price"),
            (MarkupKind.PER_UNIT, "USD for each token"),
            (MarkupKind.PER_REQUEST, "USD for each call"),
        ]
    )
    value = forms.DecimalField(
        max_digits=24, decimal_places=15, help_text="20 is 20 %; below zero a discount."
    )
    customer = forms.UUIDField(required=False, help_text="Its id; empty: every customer.")
    provider_type = forms.CharField(max_length=30, required=False, label="Vendor")
    model_glob = forms.CharField(
        max_length=200, required=False, label="Model", help_text="* and ? match any text."
    )
    priority = forms.IntegerField(
        initial=0, min_value=-1_000, max_value=1_000, help_text="The highest decides alone."
    )
    starts_at = forms.DateTimeField(
        required=False, label="From (UTC)", help_text="Empty: from the moment of approval."
    )
    ends_at = forms.DateTimeField(required=False, label="Until (UTC)", help_text="Empty: for ever.")
    accepts_jump = forms.BooleanField(required=False, label="It is meant, odd as it looks")

    def clean_value(self) -> Decimal:
        """Only percent may be below zero."""
        value: Decimal = self.cleaned_data["value"]
        if value < 0 and self.cleaned_data.get("kind") != MarkupKind.PERCENT:
            raise forms.ValidationError("A fee is 0 or more.")
        return value


class MarkupEnd(Dialog):
    reason = forms.CharField(max_length=300, help_text="The approver reads it.")
    ends_at = forms.DateTimeField(
        required=False, label="From (UTC)", help_text="Empty: at the moment of approval."
    )
