-- The measures of the semantic layer, added up per period, channel and currency: never across currencies.
select {{ contracted({
    'measure_id': "coalesce(period, 'unknown') || ':' || coalesce(channel, 'unknown') || ':' || coalesce(currency, 'unknown')",
    'period': "coalesce(period, 'unknown')",
    'channel': "coalesce(channel, 'unknown')",
    'currency': "coalesce(currency, 'unknown')",
    'order_count': 'count(*)',
    'sold_count': 'sum(sold_count)',
    'returned_count': 'sum(returned_count)',
    'return_rate': 'case when sum(sold_count) > 0 then ' ~ rounded_ratio('cast(sum(returned_count) as bigint)', 'cast(sum(sold_count) as bigint)') ~ ' end',
    'gross_amount': 'sum(gross_amount)',
    'net_amount': 'sum(net_amount)',
    'margin_amount': 'sum(margin_amount)',
    'unknown_margin_count': 'sum(case when sold_count = 1 and margin_amount is null then 1 else 0 end)',
    'net_reporting_amount': 'sum(net_reporting_amount)',
    'unconverted_net_amount': 'coalesce(sum(unconverted_net_amount), 0)',
    'settled_count': 'count(days_to_settle)',
    'days_to_settle': 'case when count(days_to_settle) > 0 then '
        ~ rounded_ratio('cast(sum(days_to_settle) as bigint)', 'count(days_to_settle)', 'hours') ~ ' end',
}) }}
from {{ ref('fin_order_measures') }}
group by period, channel, currency
