from django.urls import path

from billing.api import exports, prices, statements

urlpatterns = [
    path("exports", exports.Exports.as_view()),
    path("exports/<str:export_id>", exports.Export.as_view()),
    path("exports/<str:export_id>/content", exports.Content.as_view()),
    path("statements", statements.Statements.as_view()),
    path("statements/<str:month>", statements.Statement.as_view()),
    path("prices", prices.Prices.as_view()),
]
