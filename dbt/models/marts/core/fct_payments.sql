-- A payment that was refunded later was paid first; a source without a status says so by the time of payment.
with payments as (
{{ counted_children('payments') }}
)

select {{ contracted({
    'payment_id': 'record_id',
    'is_paid': "coalesce(payment_status in ('captured', 'refunded'), paid_at is not null)",
}) }}
from payments
