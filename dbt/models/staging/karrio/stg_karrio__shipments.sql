{{ latest(source('landing', 'karrio__shipments'), keys=['id'], order=none) }}
