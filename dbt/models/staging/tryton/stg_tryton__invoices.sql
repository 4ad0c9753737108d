{{ latest(source('landing', 'tryton__invoices'), keys=['id'], order='modified_at') }}
