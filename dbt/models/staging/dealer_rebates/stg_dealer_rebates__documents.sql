{{ latest(source('landing', 'dealer_rebates__documents'), keys=['document_id']) }}
