from django.urls import path

from billing.api import views

urlpatterns = [
    path("usage", views.Usage.as_view()),
    path("summary", views.Summary.as_view()),
]
