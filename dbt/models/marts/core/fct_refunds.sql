with refunds as (
{{ counted_children('refunds') }}
)

select {{ contracted({'refund_id': 'record_id'}) }}
from refunds
