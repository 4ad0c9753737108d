{{ latest(source('landing', 'ecb_fx__reference_rates'), keys=['rate_on', 'currency']) }}
