{{ latest_children(
    source('landing', 'stripe__fee_details'),
    ref('stg_stripe__balance_transactions'),
    parent_keys=['balance_transaction_id'],
    keys=['balance_transaction_id', '_child_index']
) }}
