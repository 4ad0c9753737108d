{{ latest(source('landing', 'karrio__carriers'), keys=['id'], order=none) }}
