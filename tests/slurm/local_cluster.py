"""A real SLURM on this machine for tests: controller, accounting, and two node daemons `n1` and `n2`.

    python tests/slurm/local_cluster.py start FOLDER     prints the line that makes sbatch, squeue, ... talk to it
    python tests/slurm/local_cluster.py stop FOLDER

Needs root and the Debian packages slurm-wlm, munge, slurmdbd and mariadb-server; no systemd. Every daemon has its own
folder, port and pid file, and is stopped by that pid file alone.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = (
    "munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd", "sbatch", "squeue", "sacct", "sacctmgr",
)  # fmt: skip
NODES = ("n1", "n2")
STOP_ORDER = ("n1", "n2", "slurmctld", "slurmdbd", "mariadbd", "munged")

SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={slurmctld_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={slurmdbd_port}
AccountingStoragePass={folder}/munge/munge.socket
JobAcctGatherType=jobacct_gather/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=2,sched_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=2
MinJobAge=300
SlurmdTimeout=10
InactiveLimit=0
ReturnToService=2
"""

NODE_CONF = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=2000 State=UNKNOWN\n"

PARTITIONS = """
PartitionName=batch Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=graceful Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=doomed Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=CANCEL
PartitionName=urgent Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""

SLURMDBD_CONF = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={slurmdbd_port}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={mariadb_port}
StorageUser=slurm
StoragePass={password}
StorageLoc=accounting
"""


class CannotStart(RuntimeError):
    """The cluster cannot run here; the message says which daemon and why."""


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _wait(what: str, ready: Callable[[], bool], log: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            words = log.read_text(errors="replace")[-1500:] if log.exists() else "(no log)"
            raise CannotStart(f"{what} did not come up within {seconds:.0f} s; end of {log}:\n{words}")
        time.sleep(0.2)


def _pid(folder: Path, daemon: str) -> int | None:
    """The daemon's process by its own pid file, if that process is still the daemon."""
    try:
        pid = int((folder / f"{daemon}.pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (OSError, ValueError):
        return None
    program = "slurmd" if daemon in NODES else daemon
    return pid if program in words else None


class LocalCluster:
    """Starts and stops the daemons in `folder`; `environment()` makes SLURM's commands talk to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._database: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        """What to add to the environment of sbatch, squeue and friends."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def command(self, *words: str, check: bool = True) -> str:
        """Run one of SLURM's commands against this cluster and return what it printed."""
        done = subprocess.run(
            words,
            env=os.environ | self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if check and done.returncode:
            raise CannotStart(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def start(self) -> "LocalCluster":
        """Start everything and wait until both nodes are idle.

        Raises:
            CannotStart: a program is missing, this is not root, or a daemon does not come up (with its log).
        """
        missing = [name for name in PROGRAMS if shutil.which(name, path=self._path()) is None]
        if missing:
            raise CannotStart(
                f"not installed: {', '.join(missing)}; apt-get install slurm-wlm munge slurmdbd mariadb-server"
            )
        if os.geteuid() != 0:
            raise CannotStart("the daemons run as root (SlurmUser=root); this is another user")
        for name in ("munge", "state", "database"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        # munged refuses a socket whose folder others cannot search.
        self.folder.chmod(0o755)
        (self.folder / "munge").chmod(0o755)
        try:
            self._write_configuration()
            self._start_munge()
            self._start_database()
            self._start_slurm()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop every daemon by its own pid file: asked first, killed when it does not listen."""
        for daemon in STOP_ORDER:
            self.stop_daemon(daemon)
        if self._database is not None:  # the only daemon that stays a child of this process
            self._database.wait()

    def stop_daemon(self, daemon: str, *, kill: bool = False) -> None:
        """Stop one daemon; `kill` gives it no time to say goodbye."""
        pid = _pid(self.folder, daemon)
        if pid is None:
            return
        os.kill(pid, signal.SIGKILL if kill else signal.SIGTERM)
        deadline = time.monotonic() + 20
        while _pid(self.folder, daemon) == pid and not self._is_zombie(pid):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                deadline += 20
            time.sleep(0.1)

    def start_node(self, name: str) -> None:
        """Start one node daemon (again)."""
        self._run("slurmd", "-N", name, "-f", str(self.folder / "slurm.conf"))

    def lose_node(self, name: str) -> None:
        """The node goes away as with a power cut: its daemon and everything that runs under its steps is killed."""
        steps = [int(path.name) for path in Path("/proc").glob("[0-9]*") if self._belongs_to_node(path, name)]
        self.stop_daemon(name, kill=True)
        for pid in [*steps, *self._descendants(steps)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def node_state(self, name: str) -> str:
        """The node's state in sinfo's words, such as `idle` or `down*`."""
        return self.command("sinfo", "-h", "-n", name, "-p", "batch", "-o", "%T", check=False).strip()

    def _belongs_to_node(self, process: Path, name: str) -> bool:
        # Of this cluster (its configuration in the environment), and a step that runs on this node.
        try:
            words = (process / "cmdline").read_bytes()
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            return False
        if f"SLURM_CONF={self.folder / 'slurm.conf'}".encode() not in variables:
            return False
        return words.startswith(b"slurmstepd") or f"SLURMD_NODENAME={name}".encode() in variables

    @staticmethod
    def _descendants(pids: list[int]) -> list[int]:
        parents: dict[int, list[int]] = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, ValueError, IndexError):
                continue
            parents.setdefault(parent, []).append(int(path.name))
        found, queue = [], list(pids)
        while queue:
            children = parents.get(queue.pop(), [])
            found += children
            queue += children
        return found

    @staticmethod
    def _is_zombie(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            return True

    @staticmethod
    def _path() -> str:
        return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

    def _run(self, *words: str) -> None:
        done = subprocess.run(
            words, env=os.environ | self.environment() | {"PATH": self._path()},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
        )  # fmt: skip
        if done.returncode:
            raise CannotStart(f"{' '.join(words)}: {done.stderr.strip()}")

    def _write_configuration(self) -> None:
        host = socket.gethostname().split(".")[0]
        ports = _free_ports(3 + len(NODES))
        values = {
            "folder": self.folder, "host": host, "password": secrets.token_hex(8),
            "slurmctld_port": ports[0], "slurmdbd_port": ports[1], "mariadb_port": ports[2],
        }  # fmt: skip
        nodes = "".join(
            NODE_CONF.format(name=name, host=host, port=port)
            for name, port in zip(NODES, ports[3:], strict=True)
        )
        (self.folder / "slurm.conf").write_text(SLURM_CONF.format(**values) + nodes + PARTITIONS)
        database = self.folder / "slurmdbd.conf"
        database.write_text(SLURMDBD_CONF.format(**values))
        database.chmod(0o600)
        (self.folder / "database.port").write_text(str(values["mariadb_port"]))
        # The database listens on this machine alone, and goes away with the folder.
        (self.folder / "database.sql").write_text(
            "CREATE DATABASE accounting;\n"
            f"CREATE USER 'slurm'@'127.0.0.1' IDENTIFIED BY '{values['password']}';\n"
            "GRANT ALL ON accounting.* TO 'slurm'@'127.0.0.1';\n"
        )

    def _start_munge(self) -> None:
        key = self.folder / "munge" / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        self._run(
            "munged", "--force", f"--key-file={key}", f"--socket={self.folder}/munge/munge.socket",
            f"--pid-file={self.folder}/munged.pid", f"--log-file={self.folder}/munged.log",
            f"--seed-file={self.folder}/munge/seed",
        )  # fmt: skip
        _wait("munged", (self.folder / "munge" / "munge.socket").exists, self.folder / "munged.log")

    def _start_database(self) -> None:
        log = self.folder / "mariadbd.log"
        data = f"--datadir={self.folder}/database"
        self._run(
            "mariadb-install-db", "--no-defaults", data, "--user=root", "--skip-test-db",
            "--auth-root-authentication-method=normal",
        )  # fmt: skip
        port = (self.folder / "database.port").read_text()
        with open(log, "ab") as output:
            self._database = subprocess.Popen(
                [
                    "mariadbd", "--no-defaults", data, "--user=root", "--bind-address=127.0.0.1", f"--port={port}",
                    f"--socket={self.folder}/mariadbd.socket", f"--pid-file={self.folder}/mariadbd.pid",
                    f"--init-file={self.folder}/database.sql", "--innodb-buffer-pool-size=64M",
                    "--innodb-lock-wait-timeout=900", "--skip-name-resolve",
                ],
                env=os.environ | {"PATH": self._path()}, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        _wait("mariadbd", lambda: self._answers(int(port)), log)

    @staticmethod
    def _answers(port: int) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def _start_slurm(self) -> None:
        self._run("slurmdbd")
        log = self.folder / "slurmdbd.log"
        _wait("slurmdbd", lambda: "test" in self._with_cluster(), log)
        self._run("slurmctld", "-c", "-f", str(self.folder / "slurm.conf"))
        for name in NODES:
            self.start_node(name)
        _wait(
            "the nodes",
            lambda: all(self.node_state(name) == "idle" for name in NODES),
            self.folder / "slurmctld.log",
        )

    def _with_cluster(self) -> str:
        self.command("sacctmgr", "-i", "add", "cluster", "test", check=False)
        return self.command("sacctmgr", "-n", "-P", "list", "cluster", "format=cluster", check=False)


def main() -> int:
    """`start FOLDER` or `stop FOLDER`."""
    if len(sys.argv) != 3 or sys.argv[1] not in ("start", "stop"):
        print(__doc__, file=sys.stderr)
        return 2
    cluster = LocalCluster(Path(sys.argv[2]))
    if sys.argv[1] == "stop":
        cluster.stop()
        return 0
    try:
        cluster.start()
    except CannotStart as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"export SLURM_CONF={cluster.folder / 'slurm.conf'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
