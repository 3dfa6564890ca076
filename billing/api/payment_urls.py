from django.urls import path

from billing.api import payments

urlpatterns = [
    path("top-ups", payments.TopUps.as_view()),
    path("portal", payments.Portal.as_view()),
    path("auto-recharge", payments.AutoRecharge.as_view()),
    path("webhooks/stripe", payments.StripeWebhook.as_view()),
]
