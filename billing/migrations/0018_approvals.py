"""Requests that need a second person, moves by hand, the audit chain, one-use tokens."""

import django.db.models.deletion
import django.db.models.functions.datetime
import ideplatform.kit.ids
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0017_correction_guards'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='SpentToken',
            fields=[
                ('token', models.UUIDField(primary_key=True, serialize=False)),
                ('actor_id', models.UUIDField()),
                ('result', models.CharField(blank=True, default='', max_length=300)),
                ('used_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'billing_spent_tokens',
                'default_permissions': (),
            },
        ),
        migrations.AddField(
            model_name='stripeoutbox',
            name='actor_id',
            field=models.UUIDField(null=True),
        ),
        migrations.AddField(
            model_name='stripeoutbox',
            name='approval_id',
            field=models.UUIDField(null=True),
        ),
        migrations.CreateModel(
            name='ApprovalRequest',
            fields=[
                ('id', models.UUIDField(default=ideplatform.kit.ids.new, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('adjustment', 'Adjustment'), ('promo', 'Promo'), ('reversal', 'Reversal'), ('refund', 'Refund'), ('limit', 'Limit'), ('prices', 'Prices'), ('reconciliation', 'Reconciliation')], max_length=20)),
                ('payload', models.JSONField()),
                ('payload_hash', models.BinaryField(db_default=b'', max_length=32)),
                ('reason', models.CharField(max_length=300)),
                ('ticket', models.CharField(blank=True, default='', max_length=100)),
                ('note', models.CharField(blank=True, default='', max_length=1000)),
                ('approver_session_id', models.UUIDField(null=True)),
                ('state', models.CharField(choices=[('open', 'Open'), ('approved', 'Approved'), ('rejected', 'Rejected'), ('expired', 'Expired'), ('applied', 'Applied')], default='open', max_length=10)),
                ('decision_note', models.CharField(blank=True, default='', max_length=300)),
                ('result', models.CharField(blank=True, default='', max_length=100)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('expires_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('decided_at', models.DateTimeField(null=True)),
                ('approver', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('customer', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.customer')),
                ('proposer', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'billing_approval_requests',
                'default_permissions': ('view',),
            },
        ),
        migrations.CreateModel(
            name='BillingAudit',
            fields=[
                ('seq', models.BigIntegerField(db_default=0, primary_key=True, serialize=False)),
                ('at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('actor_id', models.UUIDField(null=True)),
                ('action', models.CharField(max_length=60)),
                ('customer_id', models.UUIDField(null=True)),
                ('target', models.CharField(blank=True, default='', max_length=200)),
                ('details', models.JSONField(default=dict)),
                ('prev_hash', models.BinaryField(db_default=b'', max_length=32)),
                ('hash', models.BinaryField(db_default=b'', max_length=32)),
            ],
            options={
                'db_table': 'billing_audit',
                'default_permissions': ('view',),
                'indexes': [models.Index(fields=['customer_id', '-seq'], name='billing_audit_customer')],
            },
        ),
        migrations.CreateModel(
            name='HandMove',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
                ('operator_id', models.UUIDField(null=True)),
                ('day', models.DateField()),
                ('amount', models.DecimalField(decimal_places=12, max_digits=30)),
                ('approval', models.OneToOneField(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.approvalrequest')),
            ],
            options={
                'db_table': 'billing_hand_moves',
                'default_permissions': ('view',),
            },
        ),
        migrations.CreateModel(
            name='TwoPersonRule',
            fields=[
                ('id', models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ('amount', models.DecimalField(decimal_places=12, max_digits=30)),
                ('per_day', models.DecimalField(decimal_places=12, max_digits=30)),
                ('reconciliation', models.DecimalField(decimal_places=12, max_digits=30)),
            ],
            options={
                'db_table': 'billing_two_person_rule',
                'permissions': [('view_console', 'Console: view console'), ('adjust_wallets', 'Console: adjust wallets'), ('grant_promo', 'Console: grant promo'), ('refund_payments', 'Console: refund payments'), ('set_limits', 'Console: set limits'), ('park_customers', 'Console: park customers'), ('run_verification', 'Console: run verification'), ('approve_money', 'Console: approve money'), ('draft_prices', 'Console: draft prices'), ('approve_prices', 'Console: approve prices'), ('replay_webhooks', 'Console: replay webhooks'), ('view_reports', 'Console: view reports'), ('view_audit', 'Console: view audit')],
                'default_permissions': (),
                'constraints': [models.CheckConstraint(condition=models.Q(('id', 1)), name='two_person_rule_once'), models.CheckConstraint(condition=models.Q(('amount__gte', 0), ('reconciliation__gte', 0), ('per_day__gte', models.F('amount'))), name='two_person_rule_amounts')],
            },
        ),
        migrations.AddIndex(
            model_name='approvalrequest',
            index=models.Index(condition=models.Q(('state', 'open')), fields=['expires_at'], name='approvals_open'),
        ),
        migrations.AddIndex(
            model_name='approvalrequest',
            index=models.Index(fields=['customer', '-created_at'], name='approvals_of_customer'),
        ),
        migrations.AddConstraint(
            model_name='approvalrequest',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['adjustment', 'promo', 'reversal', 'refund', 'limit', 'prices', 'reconciliation'])), name='approvals_kind'),
        ),
        migrations.AddConstraint(
            model_name='approvalrequest',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['open', 'approved', 'rejected', 'expired', 'applied'])), name='approvals_state'),
        ),
        migrations.AddConstraint(
            model_name='approvalrequest',
            constraint=models.CheckConstraint(condition=models.Q(('approver__isnull', True), models.Q(('approver', models.F('proposer')), _negated=True), _connector='OR'), name='approvals_two_persons'),
        ),
        migrations.AddConstraint(
            model_name='approvalrequest',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('state__in', ('approved', 'applied')), _negated=True), models.Q(('approver__isnull', False), ('approver_session_id__isnull', False)), _connector='OR'), name='approvals_approved'),
        ),
        migrations.AddConstraint(
            model_name='approvalrequest',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('decided_at__isnull', True), ('state', 'open')), models.Q(models.Q(('state', 'open'), _negated=True), ('decided_at__isnull', False)), _connector='OR'), name='approvals_decided'),
        ),
        migrations.AddConstraint(
            model_name='approvalrequest',
            constraint=models.CheckConstraint(condition=models.Q(('reason', ''), _negated=True), name='approvals_reason'),
        ),
        migrations.AddIndex(
            model_name='handmove',
            index=models.Index(fields=['day', 'operator_id'], name='hand_moves_of_a_day'),
        ),
        migrations.AddConstraint(
            model_name='handmove',
            constraint=models.CheckConstraint(condition=models.Q(('amount__gt', 0)), name='hand_moves_amount'),
        ),
    ]
