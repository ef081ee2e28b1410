"""The tables: what is measured, how it is prepared and checked, and the bars that cftool is held to.

Each round runs the clients one after another, in another order each time, so that what else the machine does falls on
all of them. Preparation and checks are not measured.
"""

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from tests.bench.clients import Client
from tests.bench.lab import Lab
from tests.bench.measure import Cost, apart, median, run
from tests.proxy import Proxy
from tests.servers import tool

FILES, SIZE = 5000, 4096
LARGE = 1 << 30
REMOTE = "bench/data"


@dataclass(frozen=True, slots=True)
class Bar:
    """A limit for cftool: of a figure of its row, or of that figure as a ratio to a peer's."""

    figure: str  # "cpu", "wall", "rss", "requests"
    limit: float
    peer: str | None = None

    def judge(self, rows: dict[str, Cost]) -> tuple[str, str, bool]:
        """What was measured, what the bar says, and whether it holds."""
        unit = {"cpu": " s CPU", "wall": " s wall", "rss": " MiB", "requests": " requests"}[self.figure]
        value = getattr(rows["cftool"], self.figure)
        if value is None:
            return "not counted", f"≤ {self.limit:g}{unit}", False
        if self.peer is None:
            shown = f"{value:.2f}" if self.figure in {"cpu", "wall"} else f"{value:.0f}"
            return f"{shown}{unit}", f"≤ {self.limit:g}{unit}", value <= self.limit
        ratio = value / getattr(rows[self.peer], self.figure)
        return f"{ratio:.2f} × {self.peer}{unit[2:]}", f"≤ {self.limit:g} ×", ratio <= self.limit


@dataclass(slots=True)
class Table:
    """One table of the report."""

    title: str
    rows: dict[str, Cost]
    bars: Sequence[Bar] = ()
    runs: int = 1
    once: Sequence[str] = ()  # clients that ran once only


@dataclass(slots=True)
class Bench:
    """What all tables share: the folder for everything, the number of rounds, and the peak memory seen."""

    scratch: Path
    rounds: int
    tables: list[Table] = field(default_factory=list)
    say: Callable[[str], None] = print

    def compare(
        self,
        title: str,
        lab: Lab,
        work: str,
        clients: Sequence[str],
        *,
        local: Path,
        remote: str = REMOTE,
        prepare: Callable[[Client], object] = lambda client: None,
        check: Callable[[Client], object] = lambda client: None,
        bars: Sequence[Bar] = (),
        rounds: int | None = None,
        once: Sequence[str] = (),
    ) -> None:
        """Measure one piece of work with each client, and keep the table; those in `once` run in the first round."""
        costs: dict[str, list[Cost]] = {name: [] for name in clients}
        rounds = rounds or self.rounds
        order = list(clients)
        for number in range(rounds):
            for name in order:
                if number and name in once:
                    continue
                client = Client(name, lab, self.scratch / "home" / name.replace(" ", "-"))
                costs[name].append(self._once(client, work, local, remote, prepare, check))
            order = order[1:] + order[:1]
            self.say(f"{title}: round {number + 1} of {rounds}")
        rows = {name: median(costs[name]) for name in clients}
        if lab.requests() is None:
            rows = {
                name: replace(cost, requests=apart(partial(self._count, lab, name, work, local, remote, prepare)))
                for name, cost in rows.items()
            }
        self.tables.append(Table(title, rows, bars, rounds, tuple(name for name in clients if name in once)))

    def _once(self, client, work, local, remote, prepare, check) -> Cost:
        shutil.rmtree(client.home, ignore_errors=True)
        client.home.mkdir(parents=True)
        prepare(client)
        command = client.command(work, local, remote)
        assert command is not None, (client.name, work)
        client.lab.reset()
        cost = run(command, client.environment()).cost
        cost = replace(cost, requests=client.lab.requests())
        check(client)
        return cost

    def _count(self, lab: Lab, name: str, work: str, local: Path, remote: str, prepare) -> int:
        """Requests of one more run, through a proxy that counts them: for servers that do not."""
        client = Client(name, lab, self.scratch / "home" / name.replace(" ", "-"))
        shutil.rmtree(client.home, ignore_errors=True)
        client.home.mkdir(parents=True)
        prepare(client)
        with Proxy(lab.server) as proxy:
            counted = Client(name, replace(lab, server=proxy.server), client.home)
            command = counted.command(work, local, remote)
            assert command is not None
            run(command, counted.environment())
            return len(proxy.exchanges)

    # The tables ------------------------------------------------------------------------------------------------------

    def small_files(self, files: int = FILES) -> Path:
        """So many files of 4 KiB in folders of 100, made once."""
        root = self.scratch / f"small-{files}"
        if not root.exists():
            rng = random.Random(1)
            for number in range(files):
                path = root / f"d{number // 100:02d}" / f"f{number:05d}.dat"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(rng.randbytes(SIZE))
                os.utime(path, (1.6e9 + number, 1.6e9 + number))
        return root

    def large_file(self) -> Path:
        """One file of 1 GiB that does not compress, made once."""
        path = self.scratch / "large.bin"
        if not path.exists():
            with path.open("wb") as file:
                for _ in range(LARGE >> 22):
                    file.write(os.urandom(1 << 22))
        return path

    def expect_remote(self, lab: Lab, count: int) -> Callable[[Client], object]:
        """A check that the bucket holds so many objects, asked of rclone."""

        def check(client: Client) -> None:
            judge = Client("rclone", lab, self.scratch / "judge")
            out = run([tool("rclone"), "size", "--json", f"lab:{REMOTE}"], judge.environment(), keep_output=True).out
            if f'"count":{count},'.encode() not in out:
                raise SystemExit(f"{client.name}: {count} objects expected, found {out.decode()}")

        return check

    def upload_small(self, lab: Lab) -> None:
        root = self.small_files()

        def empty(client: Client) -> None:
            lab.reset(data=True)
            lab.make_bucket("bench")

        for milliseconds, clients, bars in (
            (0, ("cftool", "rclone, no hashes", "rclone", "s5cmd"), (Bar("cpu", 1.5), Bar("rss", 80))),
            (30, ("cftool", "rclone, no hashes", "s5cmd"), (Bar("wall", 0.7, "s5cmd"),)),
        ):
            if lab.latency(milliseconds):
                title = f"upload 5,000 x 4 KiB at {milliseconds} ms"
                check = self.expect_remote(lab, FILES)
                self.compare(title, lab, "upload", clients, local=root, prepare=empty, check=check, bars=bars)
        lab.latency(0)

    def stock(self, lab: Lab) -> None:
        """Put the small files there, with the times that rclone and cftool keep."""
        lab.reset(data=True)
        lab.make_bucket("bench")
        filler = Client("rclone", lab, self.scratch / "judge")
        command = filler.command("upload", self.small_files(), REMOTE)
        assert command is not None
        run(command, filler.environment())

    def download_small(self, lab: Lab) -> None:
        self.stock(lab)
        target = self.scratch / "down"

        def check(client: Client) -> None:
            found = sum(len(names) for _, _, names in os.walk(target))
            if found != FILES:
                raise SystemExit(f"{client.name}: {found} of {FILES} files arrived")

        for milliseconds in (0, 30):
            if lab.latency(milliseconds):
                self.compare(
                    f"download 5,000 x 4 KiB at {milliseconds} ms",
                    lab,
                    "download",
                    ("cftool", "rclone", "s5cmd"),
                    local=target,
                    prepare=lambda client: shutil.rmtree(target, ignore_errors=True),
                    check=check,
                    bars=() if milliseconds else (Bar("cpu", 1.5), Bar("rss", 80)),
                )
        lab.latency(0)

    def list_many(self, lab: Lab) -> None:
        lab.reset(data=True)
        lab.fill("bench", 100_000)
        for milliseconds in (0, 30):
            if lab.latency(milliseconds):
                bars = (Bar("wall", 1.0, "rclone"),) if milliseconds else (Bar("cpu", 0.9), Bar("rss", 80))
                title = f"list 100,000 at {milliseconds} ms"
                self.compare(title, lab, "list", ("cftool", "rclone", "s5cmd"), local=Path(), remote="bench", bars=bars)
        lab.latency(0)

    def no_op(self, lab: Lab) -> None:
        root = self.small_files()

        def synced(client: Client) -> None:
            lab.reset(data=True)
            lab.make_bucket("bench")
            command = client.command("no-op", root, REMOTE)
            assert command is not None
            run(command, client.environment())

        bars = (Bar("cpu", 0.45), Bar("requests", 6), Bar("rss", 80))
        clients = ("cftool", "rclone, size only", "rclone", "s5cmd")
        self.compare("sync of 5,000 with nothing to do", lab, "no-op", clients, local=root, prepare=synced, bars=bars)

    def delete(self, lab: Lab) -> None:
        self.compare(
            "delete 5,000",
            lab,
            "delete",
            ("cftool", "rclone", "s5cmd"),
            local=Path(),
            prepare=lambda client: self.stock(lab),
            check=self.expect_remote(lab, 0) if lab.control else lambda client: None,
            bars=(Bar("requests", 10), Bar("rss", 80)),
        )

    def large(self, lab: Lab) -> None:
        path, back = self.large_file(), self.scratch / "back.bin"
        over = "TLS" if lab.certificate else "plain HTTP"
        clients = ("cftool", "rclone", "s5cmd")

        def empty(client: Client) -> None:
            lab.reset(data=True)
            lab.make_bucket("bench")

        def same(client: Client) -> None:
            subprocess.run(["cmp", path, back], check=True)

        remote = f"{REMOTE}/large.bin"
        up = (Bar("cpu", 2.0), Bar("rss", 80)) if lab.certificate else (Bar("rss", 80),)
        self.compare(
            f"upload 1 GiB over {over}",
            lab,
            "upload large",
            clients,
            local=path,
            remote=remote,
            prepare=empty,
            check=self.expect_remote(lab, 1),
            bars=up,
        )
        down = (Bar("cpu", 2.8), Bar("rss", 80)) if lab.certificate else (Bar("rss", 80),)
        self.compare(
            f"download 1 GiB over {over}",
            lab,
            "download large",
            clients,
            local=back,
            remote=remote,
            prepare=lambda client: back.unlink(missing_ok=True),
            check=same,
            bars=down,
        )
        lab.reset(data=True)

    def million(self, lab: Lab) -> None:
        lab.reset(data=True)
        lab.fill("bench", 1_000_000)
        self.compare(
            "list 1,000,000",
            lab,
            "list",
            ("cftool",),
            local=Path(),
            remote="bench",
            bars=(Bar("rss", 120),),
            rounds=1,
        )
        lab.fill("second", 1_000_000)
        client = Client("cftool", lab, self.scratch / "home" / "cftool")
        for title in ("sync of 1,000,000, first run", "sync of 1,000,000, second run"):
            lab.reset()
            cost = run([tool("cftool"), "sync", "lab:bench", "lab:second"], client.environment()).cost
            row = {"cftool": replace(cost, requests=lab.requests())}
            self.tables.append(Table(title, row, (Bar("rss", 300),)))
            self.say(title)
        lab.reset(data=True)

    def start_up(self, lab: Lab) -> None:
        os.chdir(self.small_files())
        bars = (Bar("cpu", 1.0, "rclone"), Bar("wall", 1.0, "rclone"))
        clients = ("cftool", "rclone", "s5cmd")
        runs = max(9, self.rounds)
        self.compare("print the version", lab, "version", clients, local=Path(), bars=bars, rounds=runs)
        bars = (Bar("cpu", 2.0, "rclone"),)
        self.compare("list a local directory", lab, "list local", clients[:2], local=Path(), bars=bars, rounds=runs)
