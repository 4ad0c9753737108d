-- Scans at the instant they happened: var karrio_zones says whose clock the digits are of. Where it says nothing they are
-- taken as karrio hands them on, as UTC.
with scans as (
    select
        events.*,
        {%- if var('karrio_zones') %}
        case trackers.carrier_id
            {%- for account, zone in var('karrio_zones').items() %}
            when '{{ account }}' then {{ instant_of_clock('events.occurred_at', zone) }}
            {%- endfor %}
            else events.occurred_at
        end as happened_at
        {%- else %}
        events.occurred_at as happened_at
        {%- endif %}
    from {{ ref('stg_karrio__tracker_events') }} as events
    inner join {{ ref('stg_karrio__trackers') }} as trackers on events.tracker_id = trackers.id
)

select
    *,
    case
        when happened_at = occurred_at then occurred_at_offset_minutes
        else {{ integer_divide(seconds_between('happened_at', 'occurred_at'), 60) }}
    end as happened_at_offset_minutes
from scans
