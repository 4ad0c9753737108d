"""A signing secret that is wrong: every other credential is right, so that only the signature can be refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from connectors import registry
from connectors.declare import Signed
from connectors.extract import pull_source
from connectors.landing import Landing
from connectors.sandbox.generate import generate
from connectors.sandbox.server import Sandbox, Served, serving

_SECRETS = {
    "alipay": "PRIVATE_KEY",
    "douyin": "APP_SECRET",
    "lazada": "APP_SECRET",
    "pinduoduo": "CLIENT_SECRET",
    "tmall": "APP_SECRET",
    "xiaohongshu": "APP_SECRET",
}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    sandbox = Sandbox(generate(7, 5), sources=[*_SECRETS, "ecb_fx"], limits=False)
    with serving(sandbox) as opened:
        yield opened


def _another_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def test_no_signed_source_is_left_out() -> None:
    signed = {name for name, source in registry.sources().items() if isinstance(source.auth, Signed)}
    assert signed <= set(_SECRETS)


@pytest.mark.parametrize(("name", "secret"), _SECRETS.items(), ids=_SECRETS)
def test_a_wrong_signing_secret_is_said_with_the_remedy_and_other_sources_go_on(
    served: Served, landing: Landing, name: str, secret: str
) -> None:
    variable = f"ORDERHUB_{name.upper()}_{secret}"
    right = served.env[variable]
    wrong = _another_key() if secret == "PRIVATE_KEY" else right[::-1]
    since = (served.sandbox.world.now - timedelta(days=1)).isoformat()
    values = {**served.env, f"ORDERHUB_{name.upper()}_SINCE": since}
    source = registry.source(name)
    results = pull_source(source, landing, {**values, variable: wrong})
    assert [item.stream for item in results] == [stream.name for stream in source.streams]
    for item in results:
        assert (item.error or "").startswith(f"{name}.{item.stream}"), item
        assert (item.error_kind, item.is_retryable) == ("fatal", False), "a person has to act"
        assert wrong not in (item.error or "")
        stream = source.stream(item.stream)
        # The others ask by what the refused streams would have brought.
        if stream.fan_out is None and stream.first_by is None:
            assert variable in (item.error or ""), item
    assert landing.batches() == []
    assert [item.error for item in pull_source(registry.source("ecb_fx"), landing, values)] == [None]
    assert {batch.source for batch in landing.batches()} == {"ecb_fx"}
