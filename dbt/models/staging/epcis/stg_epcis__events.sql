{{ latest(source('landing', 'epcis__events'), keys=['event_id'], order=['error_declared_at is not null', 'recorded_at']) }}
