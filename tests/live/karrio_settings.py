"""karrio's own settings for an empty database: tables come from the models at once, not from two hundred migrations.

Lies in a folder of its own on the path of karrio's virtual environment, never on ours.
"""

from karrio.server.settings import *  # noqa: F403 - Django settings build on the whole of others


class _None(dict):  # type: ignore[type-arg] # run by karrio's Python
    """Says of every application that it has no migrations."""

    def __contains__(self, application: object) -> bool:
        return True

    def __getitem__(self, application: object) -> None:
        return None


MIGRATION_MODULES = _None()
OAUTH2_PROVIDER_ACCESS_TOKEN_MODEL = "oauth2_provider.AccessToken"
OAUTH2_PROVIDER_REFRESH_TOKEN_MODEL = "oauth2_provider.RefreshToken"
OAUTH2_PROVIDER_ID_TOKEN_MODEL = "oauth2_provider.IDToken"
OAUTH2_PROVIDER_GRANT_MODEL = "oauth2_provider.Grant"
