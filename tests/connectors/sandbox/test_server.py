"""The sandbox over real HTTP on loopback: mounting, limits, faults, time, and the end of its process."""

import json
import math
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from connectors.sandbox.credentials import Credentials
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.generate import generate
from connectors.sandbox.limit import RateLimit, TokenBucket
from connectors.sandbox.server import Sandbox, SandboxError, Served, find_twins, serving
from connectors.sandbox.supply import Supply
from connectors.sandbox.truth import Truth, load_lines
from connectors.sandbox.world import World


def refuse(seconds: float) -> Response:
    headers = {"Retry-After": str(math.ceil(seconds))}
    return JSONResponse({"code": "RATE_LIMITED"}, status_code=429, headers=headers)


class Bell:
    """A system with one list and a limit of 40 requests in ten minutes."""

    name = "bell"
    rate_limit = RateLimit(
        40, 600.0, refuse, lambda limit, left: {"X-Limit": str(limit), "X-Left": str(left)}
    )

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None:
        self.world, self.dirt, self.credentials = world, dirt, credentials

    def routes(self) -> list[BaseRoute]:
        return [Route("/v1/orders", self.orders)]

    async def orders(self, request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not self.credentials.accepts("bell", "token", given):
            return JSONResponse({"code": "UNAUTHORIZED"}, status_code=401)
        return JSONResponse({"orders": list(self.world.orders)})

    def truth(self) -> Iterable[Truth]:
        return (Truth("order", f"bell:orders:{key}", key) for key in self.world.orders)

    def env(self, base_url: str) -> dict[str, str]:
        return {
            "ORDERHUB_BELL_URL": base_url,
            "ORDERHUB_BELL_TOKEN": self.credentials.secret("bell", "token"),
        }


class Lost(Bell):
    name = "lost"

    def env(self, base_url: str) -> dict[str, str]:
        return {}


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(Sandbox(generate(3, 30), twins={"bell": Bell})) as running:
        yield running


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {served.env['ORDERHUB_BELL_TOKEN']}"}
    with httpx.Client(base_url=served.env["ORDERHUB_BELL_URL"], headers=headers, timeout=10) as opened:
        yield opened


def test_a_system_answers_below_its_name_and_checks_its_secret(served: Served, client: httpx.Client) -> None:
    assert served.env["ORDERHUB_BELL_URL"] == f"{served.url}/bell"
    assert served.url.startswith("http://127.0.0.1:")
    assert client.get("/v1/orders").json() == {"orders": list(served.sandbox.world.orders)}
    assert client.get("/v1/orders", headers={"Authorization": "Bearer guess"}).status_code == 401
    assert httpx.get(f"{served.url}/nothing").status_code == 404


def test_secrets_differ_by_seed_system_and_name() -> None:
    one = Credentials(1)
    assert one.secret("a", "x") == Credentials(1).secret("a", "x")
    assert (
        len(
            {
                one.secret("a", "x"),
                one.secret("b", "x"),
                one.secret("a", "y"),
                Credentials(2).secret("a", "x"),
            }
        )
        == 4
    )
    assert not one.accepts("a", "x", None)
    with pytest.raises(ValueError, match="length 0"):
        one.secret("a", "x", 0)


def test_the_limit_is_refused_in_the_vendors_words(client: httpx.Client) -> None:
    answers = [client.get("/v1/orders") for _ in range(42)]
    assert [answer.status_code for answer in answers[:40]] == [200] * 40
    assert answers[0].headers["x-limit"] == "40" and answers[0].headers["x-left"] == "39"
    assert answers[-1].status_code == 429
    assert answers[-1].json() == {"code": "RATE_LIMITED"}
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_a_bucket_refills_over_its_window() -> None:
    bucket = TokenBucket(RateLimit(2, 10.0))
    assert [bucket.take(0.0), bucket.take(0.0)] == [0.0, 0.0]
    assert bucket.take(0.0) == pytest.approx(5.0)
    assert bucket.take(5.0) == 0.0
    assert bucket.remaining == 0
    assert bucket.take(1000.0) == 0.0
    assert bucket.remaining == 1, "a bucket holds no more than its limit"


def test_faults_come_in_order_and_then_stop(served: Served, client: httpx.Client) -> None:
    for fault in (429, 500, "malformed"):
        asked = {"source": "bell", "fault": fault}
        assert httpx.post(f"{served.url}/_sandbox/misbehave", json=asked).status_code == 200
    assert client.get("/v1/orders").status_code == 429
    assert client.get("/v1/orders").status_code == 500
    malformed = client.get("/v1/orders")
    assert malformed.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        malformed.json()
    assert client.get("/v1/orders").json()["orders"]
    stats = httpx.get(f"{served.url}/_sandbox/stats").json()["bell"]
    assert stats["requests"] == 4
    assert (stats["fault_429"], stats["fault_500"], stats["fault_malformed"]) == (1, 1, 1)


def test_connections_break_and_hang_on_request(served: Served, client: httpx.Client) -> None:
    served.sandbox.misbehave("bell", "reset")
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        client.get("/v1/orders")
    served.sandbox.misbehave("bell", "half_page")
    with pytest.raises(httpx.RemoteProtocolError, match=r"incomplete|without sending complete"):
        client.get("/v1/orders")
    served.sandbox.misbehave("bell", "hang")
    with pytest.raises(httpx.ReadTimeout):
        client.get("/v1/orders", timeout=0.3)
    assert client.get("/v1/orders").status_code == 200


def test_a_fault_or_system_that_does_not_exist_is_refused(served: Served) -> None:
    desk = f"{served.url}/_sandbox/misbehave"
    assert "no fault 'flood'" in httpx.post(desk, json={"source": "bell", "fault": "flood"}).json()["error"]
    assert "no system 'gong'" in httpx.post(desk, json={"source": "gong", "fault": 500}).json()["error"]
    assert httpx.post(desk, content=b"no json").status_code == 400
    assert httpx.post(desk, json=["a list"]).status_code == 400


def test_time_passes_on_request(served: Served, client: httpx.Client) -> None:
    before = httpx.get(f"{served.url}/_sandbox/world").json()
    after = httpx.post(f"{served.url}/_sandbox/advance", json={"orders": 5, "hours": 36}).json()
    assert after["orders"] == before["orders"] + 5
    assert after["now"] > before["now"]
    assert len(client.get("/v1/orders").json()["orders"]) == after["orders"], "the old token or the old world"
    assert httpx.post(f"{served.url}/_sandbox/advance", json={"orders": -1}).status_code == 400


def test_the_truth_is_one_json_line_per_record(served: Served) -> None:
    truths = list(load_lines(httpx.get(f"{served.url}/_sandbox/truth").text.splitlines()))
    assert truths == [Truth("order", f"bell:orders:{key}", key) for key in served.sandbox.world.orders]


def test_export_files_are_part_of_the_world_where_an_inbox_is_given(tmp_path: Path) -> None:
    sandbox = Sandbox(generate(3, 200), twins={"bell": Bell}, inbox=tmp_path)

    def files() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    written = files()
    assert written
    assert any(truth.record_id.startswith("file_drop:") for truth in sandbox.truths())
    sandbox.advance(60, timedelta(days=2))
    assert files() != written


def test_mistakes_in_setting_up_are_said() -> None:
    world = generate(3, 1)
    with pytest.raises(SandboxError, match="no system gong in the sandbox; there are bell"):
        Sandbox(world, twins={"bell": Bell}, sources=["gong"])
    with pytest.raises(SandboxError, match="ORDERHUB_LOST_URL"):
        Sandbox(world, twins={"lost": Lost}).env("http://127.0.0.1:1")


def test_every_twin_of_the_package_serves_a_small_world() -> None:
    world = generate(3, 60)
    with serving(Sandbox(world)) as running:
        for name in find_twins():
            # Tryton's address goes on with its database.
            assert f"{running.env[f'ORDERHUB_{name.upper()}_URL']}/".startswith(f"{running.url}/{name}/")
        truths = list(running.sandbox.truths())
        running.sandbox.advance(20, timedelta(days=2))
        assert set(truths) <= set(running.sandbox.truths()), "a key changed when time passed"
    suppliers = {lot.supplier.supplier_id for lots in Supply(world).raw_lots.values() for lot in lots}
    known: dict[str, set[str]] = {
        # Suppliers are parties, too; traceability alone knows them.
        "customer": {*world.customers, *suppliers},
        "sku": set(world.products),
        "location": set(world.locations),
        "order": set(world.orders),
    }
    for truth in truths:
        assert truth.truth_id in known[truth.entity], truth
        assert len(truth.record_id.split(":", 2)) == 3, truth
    assert len({(truth.entity, truth.record_id) for truth in truths}) == len(truths), (
        "one record is two things"
    )


@pytest.mark.parametrize("ending", ["stdin", "sigterm"])
def test_the_process_prints_its_environment_and_ends_with_its_parent(ending: str) -> None:
    command = [sys.executable, "-m", "connectors.sandbox", "--orders", "5", "--seed", "9"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            told = json.loads(process.stdout.readline())
            assert httpx.get(f"{told['url']}/_sandbox/world", timeout=10).json()["orders"] == 5
            assert told["url"].endswith(f":{told['port']}")
            if ending == "stdin":
                process.stdin.close()
            else:
                process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) in (0, -signal.SIGTERM)
        finally:
            process.kill()


def test_the_process_refuses_a_system_it_does_not_have() -> None:
    command = [sys.executable, "-m", "connectors.sandbox", "--orders", "1", "--sources", "gong"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 2
    assert "no system gong" in done.stderr
