{{ latest(source('landing', 'tryton__shipment_returns'), keys=['id'], order='modified_at') }}
