"""The embedded server: one for all processes, stopped by the last, mended after a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from oms_core.store.embedded import SUPERUSER, EmbeddedServer
from oms_core.store.errors import DatabaseUnavailableError

ROOT = Path(__file__).parents[3]
USER = """
import sys
from pathlib import Path
from oms_core.store.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for a server of the test's own."""
    with tempfile.TemporaryDirectory(prefix="orderhub-test-") as name:
        yield Path(name) / "postgres"


@contextmanager
def another_user(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A second process that uses the server until its standard input ends."""
    command = [sys.executable, "-c", USER, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


def answer(server: EmbeddedServer, question: str = "SELECT 1") -> object:
    """The server's answer to one question."""
    with psycopg.connect(host=str(server.socket_folder), user=SUPERUSER, dbname="postgres") as connection:
        row = connection.execute(question.encode()).fetchone()
        assert row is not None
        return row[0]


def postmaster(server: EmbeddedServer) -> int:
    """Process id of the server."""
    return int((server.data / "postmaster.pid").read_text().splitlines()[0])


def is_running(pid: int) -> bool:
    """A dead process that nobody reaped yet does not run."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_last_user_stops_the_server(folder: Path) -> None:
    server = EmbeddedServer(folder)
    pid = postmaster(server)
    with another_user(folder):
        second = EmbeddedServer(folder)
        assert postmaster(second) == pid
        server.close()
        server.close()
        assert answer(second) == 1
        second.close()
        assert answer(server) == 1, "another process still uses it"
    assert not is_running(pid)
    again = EmbeddedServer(folder)
    assert answer(again) == 1
    again.close()


def test_a_killed_user_leaves_nothing_that_the_next_does_not_clear(folder: Path) -> None:
    with another_user(folder) as process:
        process.send_signal(signal.SIGKILL)
    server = EmbeddedServer(folder)
    pid = postmaster(server)
    server.close()
    assert not is_running(pid)


def test_a_crashed_server_comes_back_with_what_was_committed(folder: Path) -> None:
    server = EmbeddedServer(folder)
    with psycopg.connect(host=str(server.socket_folder), user=SUPERUSER, dbname="postgres") as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS seven")
    os.kill(postmaster(server), signal.SIGKILL)
    recovered = EmbeddedServer(folder)
    assert answer(recovered, "SELECT seven FROM kept") == 7
    recovered.close()
    server.close()


def test_a_leftover_pid_file_that_names_another_program_is_no_server(folder: Path) -> None:
    server = EmbeddedServer(folder)
    server.close()
    (server.data / "postmaster.pid").write_text(
        f"{os.getpid()}\n{server.data}\n1\n5432\n{server.data}\n\n0 0\nready\n"
    )
    again = EmbeddedServer(folder)
    assert answer(again) == 1
    again.close()


def test_many_processes_and_threads_may_start_it_at_once(folder: Path) -> None:
    servers: list[EmbeddedServer] = []
    threads = [threading.Thread(target=lambda: servers.append(EmbeddedServer(folder))) for _ in range(4)]
    for thread in threads:
        thread.start()
    with another_user(folder):
        for thread in threads:
            thread.join()
    pids = {postmaster(server) for server in servers}
    assert len(servers) == 4
    assert len(pids) == 1
    for server in servers:
        server.close()
    assert not is_running(pids.pop())


def test_a_long_path_gets_a_short_private_socket(folder: Path) -> None:
    server = EmbeddedServer(folder / ("long" * 10) / ("path" * 15))
    assert server.socket_folder != server.data
    assert server.socket_folder.stat().st_mode & 0o077 == 0
    assert answer(server) == 1
    server.close()


def test_it_listens_on_no_network_address(folder: Path) -> None:
    server = EmbeddedServer(folder)
    connections = psutil.Process(postmaster(server)).net_connections("inet")
    assert connections == []
    assert server.data.stat().st_mode & 0o077 == 0
    server.close()


def test_data_of_another_version_is_left_alone(folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(
        DatabaseUnavailableError, match=r"was made by PostgreSQL 9, and the installed .* is 18"
    ):
        EmbeddedServer(folder)


def test_a_folder_that_cannot_be_used_is_named(folder: Path) -> None:
    folder.write_text("a file")
    with pytest.raises(DatabaseUnavailableError, match=f"needs a writable folder, and {folder} is not one"):
        EmbeddedServer(folder)


def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    server = EmbeddedServer(folder)
    server.close()
    with (server.data / "postgresql.conf").open("a") as settings:
        settings.write("no_such_setting = 1\n")
    with pytest.raises(DatabaseUnavailableError, match="no_such_setting") as caught:
        EmbeddedServer(folder)
    assert "ORDERHUB_DATABASE_URL" in str(caught.value)
