"""Budgets that take their limit from another one, and approvals to go beyond a hard limit."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import ideplatform.kit.ids


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0021_markups_take_two'),
    ]

    operations = [
        migrations.CreateModel(
            name='BudgetApproval',
            fields=[
                ('id', models.UUIDField(default=ideplatform.kit.ids.new, editable=False, primary_key=True, serialize=False)),
                ('needs', models.DecimalField(decimal_places=12, max_digits=30)),
                ('state', models.CharField(choices=[('open', 'Open'), ('granted', 'Granted'), ('refused', 'Refused')], default='open', max_length=7)),
                ('granted', models.DecimalField(decimal_places=12, default=0, max_digits=30)),
                ('decided_by_id', models.UUIDField(null=True)),
                ('decided_at', models.DateTimeField(null=True)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'billing_budget_approvals',
            },
        ),
        migrations.RemoveConstraint(
            model_name='budget',
            name='budgets_on_hard',
        ),
        migrations.RemoveConstraint(
            model_name='budget',
            name='budgets_degrade_to',
        ),
        migrations.AddField(
            model_name='budget',
            name='inherit_from',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='heirs', to='billing.budget'),
        ),
        migrations.AddField(
            model_name='budgetperiod',
            name='granted',
            field=models.DecimalField(db_default=0, decimal_places=12, max_digits=30),
        ),
        migrations.AlterField(
            model_name='budget',
            name='on_hard',
            field=models.CharField(choices=[('block', 'Block'), ('degrade', 'Degrade'), ('approve', 'Approve')], default='block', max_length=8),
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.CheckConstraint(condition=models.Q(('on_hard__in', ['block', 'degrade', 'approve'])), name='budgets_on_hard'),
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(models.Q(('on_hard', 'degrade'), _negated=True), ('degrade_to', '')), models.Q(('on_hard', 'degrade'), models.Q(('degrade_to', ''), _negated=True)), _connector='OR'), name='budgets_degrade_to'),
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('on_hard', 'approve'), _negated=True), ('hard__isnull', False), _connector='OR'), name='budgets_approve'),
        ),
        migrations.AddField(
            model_name='budgetapproval',
            name='period',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='approvals', to='billing.budgetperiod'),
        ),
        migrations.AddConstraint(
            model_name='budgetapproval',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['open', 'granted', 'refused'])), name='budget_approvals_state'),
        ),
        migrations.AddConstraint(
            model_name='budgetapproval',
            constraint=models.UniqueConstraint(condition=models.Q(('state', 'open')), fields=('period',), name='budget_approvals_one_open'),
        ),
        migrations.AddConstraint(
            model_name='budgetapproval',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('granted__gt', 0), ('state', 'granted')), models.Q(models.Q(('state', 'granted'), _negated=True), ('granted', 0)), _connector='OR'), name='budget_approvals_granted'),
        ),
        migrations.AddConstraint(
            model_name='budgetapproval',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('decided_at__isnull', True), ('decided_by_id__isnull', True), ('state', 'open')), models.Q(models.Q(('state', 'open'), _negated=True), ('decided_at__isnull', False), ('decided_by_id__isnull', False)), _connector='OR'), name='budget_approvals_decided'),
        ),
        migrations.AddConstraint(
            model_name='budgetapproval',
            constraint=models.CheckConstraint(condition=models.Q(('needs__gt', 0)), name='budget_approvals_needs'),
        ),
    ]
