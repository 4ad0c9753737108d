-- What loggers measured in the parcel, in degrees Celsius; a sensor that says it failed measured nothing. A logger that
-- reports spans gives the lowest and the highest, and the mean in between.
with measured as (
    select
        reports.*,
        parcels.document_event_id,
        parcels.sscc,
        events.recorded_at,
        events.read_point_gln,
        coalesce(reports.measured_at, reports.span_from, events.occurred_at) as taken_at,
        {{ celsius('coalesce(reports.value, reports.mean_value)', 'reports.uom') }} as temperature_c,
        {{ celsius('coalesce(reports.min_value, reports.value)', 'reports.uom') }} as lowest_c,
        {{ celsius('coalesce(reports.max_value, reports.value)', 'reports.uom') }} as highest_c
    from {{ ref('stg_epcis__sensor_reports') }} as reports
    inner join {{ ref('stg_epcis__events') }} as events on reports.event_id = events.event_id
    inner join {{ ref('stg_epcis__event_epcs') }} as units on reports.event_id = units.event_id and units.role = 'object'
    inner join {{ ref('stg_epcis__parcels') }} as parcels on units.sscc = parcels.sscc
    where
        reports.measurement = 'Temperature'
        and coalesce(reports.exception, '') <> 'ERROR_CONDITION'
        and events.error_declared_at is null
)

{{ conform('temperature_readings', 'measured', {
    'source_key': "event_id || '/' || cast(_child_index as " ~ column_type('text') ~ ") || '/' || sscc",
    'source_updated_at': 'recorded_at',
    'order_record_id': record_id('epcis', 'events', 'document_event_id'),
    'shipment_key': 'sscc',
    'location_key': record_id('epcis', 'events', "'gln/' || read_point_gln"),
    'sensor_id': 'device',
    'measured_at': 'taken_at',
    'measured_until': 'span_to',
    'temperature_c': 'temperature_c',
    'lowest_c': 'lowest_c',
    'highest_c': 'highest_c',
}) }}
