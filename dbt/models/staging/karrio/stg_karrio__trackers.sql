{{ latest(source('landing', 'karrio__trackers'), keys=['id'], order='last_event_at') }}
