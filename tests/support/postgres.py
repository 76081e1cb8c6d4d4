"""A PostgreSQL server of its own for a test, from the system's package, on a socket."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

USER = "postgres"


def binaries():
    """The folder of the newest installed server, or None."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    return max(found, key=lambda path: int(path.parent.name), default=None)


@contextmanager
def running(folder_of_binaries):
    """The URL of a fresh server, which is stopped at the end."""
    # Sockets have short paths only, and another user must reach the folder.
    base = Path(tempfile.mkdtemp(prefix="fp-pg-", dir="/tmp"))
    demoted = _demotion()
    base.chmod(0o755)
    if demoted:
        os.chown(base, demoted["user"], demoted["group"])
    data = base / "data"
    try:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "cwd": base, **demoted}
        subprocess.run(
            [folder_of_binaries / "initdb", "-D", data, "-U", USER, "-A", "trust", "--no-locale"],
            check=True,
            **quiet,
        )
        command = [folder_of_binaries / "postgres", "-D", data, "-k", base]
        # A child of this process: whoever waits for it sees it end.
        with (base / "log").open("wb") as log:
            server = subprocess.Popen(
                [*command, "-c", "listen_addresses="], **{**quiet, "stderr": log}
            )
        try:
            _wait_until_ready(folder_of_binaries, base)
            yield f"postgresql+psycopg://{USER}@/postgres?host={base}"
        finally:
            server.send_signal(signal.SIGQUIT)  # at once, without a last checkpoint
            server.wait(60)
    finally:
        shutil.rmtree(base)


def _wait_until_ready(folder_of_binaries, base):
    command = [folder_of_binaries / "pg_isready", "-q", "-h", base]
    for _ in range(600):
        if subprocess.run(command, check=False).returncode == 0:
            return
        time.sleep(0.1)
    raise TimeoutError((base / "log").read_text())


def _demotion():
    """As root the server refuses to run: whom to run it as."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(USER)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
