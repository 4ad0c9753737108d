-- One row per ticket that still exists, with the company's own fields by what they mean: var zendesk_fields names the
-- title of each. A customer types what he likes: a quantity or an amount that is no number is unknown.
with filled as (
    select
        given.ticket_id
        {%- for meaning, title in var('zendesk_fields').items() %},
        max(case when fields.title = '{{ title }}' then nullif(trim(given.value), '') end) as {{ meaning }}
        {%- endfor %}
    from {{ ref('stg_zendesk__ticket_custom_values') }} as given
    inner join {{ ref('stg_zendesk__ticket_fields') }} as fields on given.field_id = fields.id
    group by given.ticket_id
)

select
    tickets.*,
    filled.order_number,
    filled.return_reason,
    upper(filled.currency) as currency,
    {{ number_in('filled.return_quantity', 'quantity') }} as return_qty,
    {{ number_in('filled.amount_promised', 'amount') }} as promised_amount,
    tickets.tags like '%"return_request"%' as is_return_request,
    tickets.tags like '%"closed_by_merge"%' as is_merged
from {{ ref('stg_zendesk__tickets') }} as tickets
left join filled on tickets.id = filled.ticket_id
where tickets.status <> 'deleted'
