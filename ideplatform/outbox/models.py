from django.db import models
from django.db.models.functions import Now


class Fact(models.Model):
    """One fact not yet handed to every listener. Deleted when it is; ids give the order."""

    id = models.BigAutoField(primary_key=True)
    topic = models.CharField(max_length=100)
    key = models.CharField(max_length=200)
    payload = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())
    attempts = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "outbox_facts"
        indexes = [models.Index(fields=["next_at", "id"], name="outbox_next")]

    def __str__(self) -> str:
        return f"{self.topic} {self.key}"
