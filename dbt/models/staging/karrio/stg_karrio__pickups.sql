{{ latest(source('landing', 'karrio__pickups'), keys=['id'], order=none) }}
