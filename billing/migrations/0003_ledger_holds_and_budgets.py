"""Whole tables: adding each constraint by itself would take twice as long."""

import billing.types.funds
import billing.types.usage
import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
import ideplatform.kit.ids
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_audit_partitions'),
        ('billing', '0002_guards'),
    ]

    operations = [
        migrations.AddField(
            model_name='customer',
            name='currency',
            field=models.CharField(default='USD', max_length=3),
        ),
        migrations.AddField(
            model_name='customer',
            name='postpaid_limit',
            field=models.DecimalField(decimal_places=12, default=0, max_digits=30),
        ),
        migrations.AddField(
            model_name='customer',
            name='status',
            field=models.CharField(choices=[('active', 'Active'), ('parked', 'Parked'), ('closed', 'Closed')], default=billing.types.funds.CustomerStatus['ACTIVE'], max_length=10),
        ),
        migrations.AddField(
            model_name='customer',
            name='stripe_customer_id',
            field=models.CharField(blank=True, max_length=100, null=True, unique=True),
        ),
        migrations.AddConstraint(
            model_name='customer',
            constraint=models.CheckConstraint(condition=models.Q(('status__in', ['active', 'parked', 'closed'])), name='customers_status'),
        ),
        migrations.AddConstraint(
            model_name='customer',
            constraint=models.CheckConstraint(condition=models.Q(('postpaid_limit__gte', 0)), name='customers_limit'),
        ),
        migrations.CreateModel(
            name='LedgerAccount',
            fields=[
                ('id', models.UUIDField(default=ideplatform.kit.ids.new, editable=False, primary_key=True, serialize=False)),
                ('customer', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='accounts', to='billing.customer')),
                ('kind', models.CharField(max_length=60)),
                ('currency', models.CharField(default='USD', max_length=3)),
                ('posted', models.DecimalField(decimal_places=12, default=0, max_digits=30)),
                ('held', models.DecimalField(decimal_places=12, default=0, max_digits=30)),
                ('seq', models.BigIntegerField(default=0)),
            ],
            options={
                'db_table': 'billing_ledger_accounts',
                'constraints': [models.UniqueConstraint(fields=('customer', 'kind', 'currency'), name='ledger_accounts_once', nulls_distinct=False), models.CheckConstraint(condition=models.Q(('held__gte', 0)), name='ledger_accounts_held'), models.CheckConstraint(condition=models.Q(('kind', 'wallet'), ('held', 0), _connector='OR'), name='ledger_accounts_held_by_wallets'), models.CheckConstraint(condition=models.Q(models.Q(('customer__isnull', False), ('kind__in', ('wallet', 'wallet_promo'))), models.Q(models.Q(('kind__in', ('wallet', 'wallet_promo')), _negated=True), ('customer__isnull', True), ('posted', 0), ('seq', 0)), _connector='OR'), name='ledger_accounts_owner')],
            },
        ),
        migrations.CreateModel(
            name='LedgerTxn',
            fields=[
                ('id', models.UUIDField(default=ideplatform.kit.ids.new, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('topup', 'Top up'), ('usage', 'Usage'), ('promo', 'Promo'), ('adjustment', 'Adjustment'), ('expiry', 'Expiry'), ('reversal', 'Reversal'), ('true_up', 'True up')], max_length=20)),
                ('idempotency_key', models.CharField(max_length=200, unique=True)),
                ('digest', models.BinaryField(max_length=32)),
                ('effective_at', models.DateTimeField()),
                ('actor_id', models.UUIDField(null=True)),
                ('reason', models.CharField(blank=True, default='', max_length=300)),
                ('links', models.JSONField(default=dict)),
                ('reverses', models.OneToOneField(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='reversed_by', to='billing.ledgertxn')),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'billing_ledger_txns',
                'constraints': [models.CheckConstraint(condition=models.Q(('kind__in', ['topup', 'usage', 'promo', 'adjustment', 'expiry', 'reversal', 'true_up'])), name='ledger_txns_kind')],
            },
        ),
        migrations.CreateModel(
            name='LedgerEntry',
            fields=[
                ('id', models.UUIDField(default=ideplatform.kit.ids.new, editable=False, primary_key=True, serialize=False)),
                ('txn', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='entries', to='billing.ledgertxn')),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='entries', to='billing.ledgeraccount')),
                ('amount', models.DecimalField(decimal_places=12, max_digits=30)),
                ('currency', models.CharField(default='USD', max_length=3)),
                ('account_seq', models.BigIntegerField(null=True)),
                ('balance_after', models.DecimalField(decimal_places=12, max_digits=30, null=True)),
            ],
            options={
                'db_table': 'billing_ledger_entries',
                'constraints': [models.CheckConstraint(condition=models.Q(('amount', 0), _negated=True), name='ledger_amount_nonzero'), models.UniqueConstraint(fields=('account', 'account_seq'), name='ledger_account_seq'), models.CheckConstraint(condition=models.Q(models.Q(('account_seq__isnull', True), ('balance_after__isnull', True)), models.Q(('account_seq__isnull', False), ('balance_after__isnull', False)), _connector='OR'), name='ledger_balance_with_seq')],
            },
        ),
        migrations.CreateModel(
            name='CreditLot',
            fields=[
                ('id', models.UUIDField(default=ideplatform.kit.ids.new, editable=False, primary_key=True, serialize=False)),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='lots', to='billing.ledgeraccount')),
                ('kind', models.CharField(choices=[('paid', 'Paid'), ('promo', 'Promo')], max_length=10)),
                ('amount', models.DecimalField(decimal_places=12, max_digits=30)),
                ('remaining', models.DecimalField(decimal_places=12, max_digits=30)),
                ('priority', models.SmallIntegerField(default=0)),
                ('expires_at', models.DateTimeField(blank=True, null=True)),
                ('source_txn', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='lots', to='billing.ledgertxn')),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'billing_credit_lots',
                'constraints': [models.CheckConstraint(condition=models.Q(('kind__in', ['paid', 'promo'])), name='credit_lots_kind'), models.CheckConstraint(condition=models.Q(('remaining__gte', 0), ('remaining__lte', models.F('amount'))), name='credit_lots_remaining')],
                'indexes': [models.Index(condition=models.Q(('remaining__gt', 0)), fields=['account'], name='credit_lots_open'), models.Index(condition=models.Q(('expires_at__isnull', False), ('remaining__gt', 0)), fields=['expires_at'], name='credit_lots_expiring')],
            },
        ),
        migrations.CreateModel(
            name='LotUse',
            fields=[
                ('id', models.UUIDField(default=ideplatform.kit.ids.new, editable=False, primary_key=True, serialize=False)),
                ('entry', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='lot_uses', to='billing.ledgerentry')),
                ('lot', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='uses', to='billing.creditlot')),
                ('amount', models.DecimalField(decimal_places=12, max_digits=30)),
            ],
            options={
                'db_table': 'billing_lot_uses',
                'constraints': [models.CheckConstraint(condition=models.Q(('amount', 0), _negated=True), name='lot_uses_nonzero')],
            },
        ),
        migrations.CreateModel(
            name='Hold',
            fields=[
                ('id', models.UUIDField(default=ideplatform.kit.ids.new, editable=False, primary_key=True, serialize=False)),
                ('request_id', models.UUIDField()),
                ('attempt', models.PositiveSmallIntegerField(default=1)),
                ('customer', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.customer')),
                ('state', models.CharField(choices=[('pending', 'Pending'), ('dispatched', 'Dispatched'), ('settled', 'Settled'), ('voided', 'Voided'), ('expired', 'Expired')], max_length=10)),
                ('amount', models.DecimalField(decimal_places=12, max_digits=30)),
                ('budget_amount', models.DecimalField(decimal_places=12, max_digits=30)),
                ('budget_period_ids', django.contrib.postgres.fields.ArrayField(base_field=models.UUIDField(), default=list, size=None)),
                ('headroom', models.DecimalField(decimal_places=12, max_digits=30, null=True)),
                ('price_version', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.priceversion')),
                ('provider_id', models.UUIDField()),
                ('provider_type', models.CharField(max_length=50)),
                ('billing_mode', models.CharField(choices=[('platform', 'Platform'), ('byok', 'Byok'), ('free', 'Free')], max_length=10)),
                ('operation', models.CharField(choices=[('chat', 'Chat'), ('embed', 'Embed'), ('rerank', 'Rerank'), ('batch', 'Batch')], max_length=10)),
                ('model', models.CharField(max_length=250)),
                ('requested_model', models.CharField(max_length=250)),
                ('workspace_id', models.UUIDField(null=True)),
                ('user_id', models.UUIDField(null=True)),
                ('api_key_id', models.UUIDField(null=True)),
                ('agent_id', models.CharField(blank=True, default='', max_length=255)),
                ('conversation_id', models.UUIDField(null=True)),
                ('run_id', models.UUIDField(null=True)),
                ('input_ratio', models.DecimalField(decimal_places=6, max_digits=12)),
                ('output_ratio', models.DecimalField(decimal_places=6, max_digits=12)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('dispatched_at', models.DateTimeField(null=True)),
                ('expires_at', models.DateTimeField()),
                ('input_bytes', models.PositiveBigIntegerField(default=0)),
                ('output_bytes', models.PositiveBigIntegerField(default=0)),
                ('last_usage', models.JSONField(null=True)),
                ('served_model', models.CharField(blank=True, default='', max_length=250)),
                ('service_tier', models.CharField(default='standard', max_length=30)),
                ('provider_request_id', models.CharField(blank=True, default='', max_length=200)),
                ('first_token_ms', models.PositiveIntegerField(null=True)),
                ('ended_at', models.DateTimeField(null=True)),
                ('settled_amount', models.DecimalField(decimal_places=12, max_digits=30, null=True)),
                ('overrun', models.DecimalField(decimal_places=12, default=0, max_digits=30)),
            ],
            options={
                'db_table': 'billing_holds',
                'constraints': [models.UniqueConstraint(fields=('request_id', 'attempt'), name='holds_request'), models.CheckConstraint(condition=models.Q(('state__in', ['pending', 'dispatched', 'settled', 'voided', 'expired'])), name='holds_state'), models.CheckConstraint(condition=models.Q(('billing_mode__in', ['platform', 'byok', 'free'])), name='holds_mode'), models.CheckConstraint(condition=models.Q(('amount__gte', 0), ('budget_amount__gte', 0), ('overrun__gte', 0)), name='holds_money'), models.CheckConstraint(condition=models.Q(('headroom__isnull', True), ('headroom__gte', 0), _connector='OR'), name='holds_covered'), models.CheckConstraint(condition=models.Q(('billing_mode', billing.types.usage.BillingMode['PLATFORM']), ('amount', 0), _connector='OR'), name='holds_own_key_is_free'), models.CheckConstraint(condition=models.Q(models.Q(('ended_at__isnull', True), ('state__in', (billing.types.funds.HoldState['PENDING'], billing.types.funds.HoldState['DISPATCHED']))), models.Q(models.Q(('state__in', (billing.types.funds.HoldState['PENDING'], billing.types.funds.HoldState['DISPATCHED'])), _negated=True), ('ended_at__isnull', False)), _connector='OR'), name='holds_ended'), models.CheckConstraint(condition=models.Q(models.Q(('state', billing.types.funds.HoldState['DISPATCHED']), _negated=True), ('dispatched_at__isnull', False), _connector='OR'), name='holds_dispatched')],
                'indexes': [models.Index(condition=models.Q(('state__in', (billing.types.funds.HoldState['PENDING'], billing.types.funds.HoldState['DISPATCHED']))), fields=['expires_at'], name='holds_expiring'), models.Index(condition=models.Q(('state__in', (billing.types.funds.HoldState['PENDING'], billing.types.funds.HoldState['DISPATCHED']))), fields=['customer'], name='holds_live'), models.Index(condition=models.Q(('ended_at__isnull', False)), fields=['ended_at'], name='holds_ended_at')],
            },
        ),
        migrations.CreateModel(
            name='Budget',
            fields=[
                ('id', models.UUIDField(default=ideplatform.kit.ids.new, editable=False, primary_key=True, serialize=False)),
                ('customer', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='budgets', to='billing.customer')),
                ('name', models.CharField(blank=True, default='', max_length=100)),
                ('scope', models.CharField(choices=[('customer', 'Customer'), ('workspace', 'Workspace'), ('user', 'User'), ('api_key', 'Api key'), ('provider', 'Provider'), ('model_glob', 'Model glob'), ('agent', 'Agent'), ('run', 'Run')], max_length=12)),
                ('scope_id', models.CharField(blank=True, default='', max_length=200)),
                ('period', models.CharField(choices=[('hour', 'Hour'), ('day', 'Day'), ('week', 'Week'), ('month', 'Month'), ('total', 'Total')], max_length=6)),
                ('tz', models.CharField(default='UTC', max_length=64)),
                ('hard', models.DecimalField(blank=True, decimal_places=12, max_digits=30, null=True)),
                ('soft', models.DecimalField(blank=True, decimal_places=12, max_digits=30, null=True)),
                ('alert_steps', django.contrib.postgres.fields.ArrayField(base_field=models.PositiveSmallIntegerField(), default=list, size=None)),
                ('on_hard', models.CharField(choices=[('block', 'Block'), ('degrade', 'Degrade')], default=billing.types.funds.OnHard['BLOCK'], max_length=8)),
                ('degrade_to', models.CharField(blank=True, default='', max_length=200)),
                ('counts_byok', models.BooleanField(default=False)),
                ('is_enabled', models.BooleanField(default=True)),
                ('created_by_id', models.UUIDField(null=True)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('deleted_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'db_table': 'billing_budgets',
                'constraints': [models.CheckConstraint(condition=models.Q(('scope__in', ['customer', 'workspace', 'user', 'api_key', 'provider', 'model_glob', 'agent', 'run'])), name='budgets_scope'), models.CheckConstraint(condition=models.Q(('period__in', ['hour', 'day', 'week', 'month', 'total'])), name='budgets_period'), models.CheckConstraint(condition=models.Q(('on_hard__in', ['block', 'degrade'])), name='budgets_on_hard'), models.CheckConstraint(condition=models.Q(models.Q(('scope', billing.types.funds.BudgetScope['CUSTOMER']), ('scope_id', '')), models.Q(models.Q(('scope', billing.types.funds.BudgetScope['CUSTOMER']), _negated=True), models.Q(('scope_id', ''), _negated=True)), _connector='OR'), name='budgets_scope_id'), models.CheckConstraint(condition=models.Q(('hard__gte', 0), ('hard__isnull', True), _connector='OR'), name='budgets_hard'), models.CheckConstraint(condition=models.Q(('soft__gt', 0), ('soft__isnull', True), _connector='OR'), name='budgets_soft'), models.CheckConstraint(condition=models.Q(('hard__isnull', False), ('soft__isnull', False), _connector='OR'), name='budgets_limit'), models.CheckConstraint(condition=models.Q(models.Q(('degrade_to', ''), ('on_hard', billing.types.funds.OnHard['BLOCK'])), models.Q(('on_hard', billing.types.funds.OnHard['DEGRADE']), models.Q(('degrade_to', ''), _negated=True)), _connector='OR'), name='budgets_degrade_to')],
            },
        ),
        migrations.CreateModel(
            name='BudgetPeriod',
            fields=[
                ('id', models.UUIDField(default=ideplatform.kit.ids.new, editable=False, primary_key=True, serialize=False)),
                ('budget', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='periods', to='billing.budget')),
                ('subject', models.CharField(blank=True, default='', max_length=255)),
                ('starts_at', models.DateTimeField()),
                ('ends_at', models.DateTimeField(null=True)),
                ('spent', models.DecimalField(decimal_places=12, default=0, max_digits=30)),
                ('held', models.DecimalField(decimal_places=12, default=0, max_digits=30)),
            ],
            options={
                'db_table': 'billing_budget_periods',
                'constraints': [models.UniqueConstraint(fields=('budget', 'subject', 'starts_at'), name='budget_periods_once'), models.CheckConstraint(condition=models.Q(('held__gte', 0), ('spent__gte', 0)), name='budget_periods_money')],
            },
        ),
        migrations.CreateModel(
            name='BudgetAlert',
            fields=[
                ('id', models.UUIDField(default=ideplatform.kit.ids.new, editable=False, primary_key=True, serialize=False)),
                ('period', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='alerts', to='billing.budgetperiod')),
                ('kind', models.CharField(choices=[('step', 'Step'), ('soft', 'Soft')], max_length=4)),
                ('step', models.PositiveSmallIntegerField()),
                ('spent', models.DecimalField(decimal_places=12, max_digits=30)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'billing_budget_alerts',
                'constraints': [models.UniqueConstraint(fields=('period', 'kind', 'step'), name='budget_alerts_once'), models.CheckConstraint(condition=models.Q(('kind__in', ['step', 'soft'])), name='budget_alerts_kind')],
            },
        ),
        migrations.AddField(
            model_name='usageevent',
            name='budget_period_ids',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.UUIDField(), default=list, size=None),
        ),
        migrations.AddField(
            model_name='usageevent',
            name='hold_id',
            field=models.UUIDField(null=True),
        ),
        migrations.AddField(
            model_name='usageevent',
            name='txn',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.ledgertxn'),
        ),
    ]
