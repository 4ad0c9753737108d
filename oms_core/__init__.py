"""OMS core: identity, release, audit and the services that read the released order facts."""
