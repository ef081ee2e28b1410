"""Completion: the hidden command that answers at each TAB, and the scripts, run by those shells that are there."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cftool.cli import app, complete, shells
from cftool.cli.shells import spec
from tests.cli.conftest import tree

BIN = Path(sys.executable).parent


@pytest.fixture
def work(here, fake_s3, monkeypatch):
    """Two remotes, one with something on it."""
    fake_s3.make("bucket", ["data/a b", "data/sub/c", "data/x", "dot", "odd\x1bname"])
    monkeypatch.setenv("CFTOOL_LATER_TYPE", "memory")
    return here


class TestAsked:
    @pytest.mark.parametrize(
        ("kind", "word", "expected"),
        [
            ("address", "", ["lab:", "later:"]),
            ("address", "lat", ["later:"]),
            ("address", "s3", ["s3:"]),
            ("address", "lab:", ["lab:bucket/"]),
            ("address", "lab:bucket/da", ["lab:bucket/data/"]),
            ("address", "lab:bucket/d", ["lab:bucket/data/", "lab:bucket/dot"]),
            ("address", "lab:bucket/data/", ["lab:bucket/data/a b", "lab:bucket/data/sub/", "lab:bucket/data/x"]),
            ("address", "lab:/bucket/data/x", ["lab:/bucket/data/x"]),
            ("address", "lab:bucket/odd", []),
            ("address", "lab:nosuch/", []),
            ("address", "nosuch:", []),
            ("address", "./f", []),
            ("address", "lab,part_size=6M:bucket/do", ["lab,part_size=6M:bucket/dot"]),
            ("remote", "la", ["lab", "later"]),
            ("nonsense", "", []),
        ],
    )
    def test_candidates(self, run, work, kind, word, expected):
        ran = run("__complete", kind, word, "cftool", "ls", word)
        assert (sorted(ran.lines), ran.err) == (expected, "")

    def test_the_configuration_that_is_typed_counts(self, run, here):
        (here / "conf").write_text('[remotes.mine]\ntype = "memory"\n')
        os.chmod(here / "conf", 0o600)
        assert run("__complete", "address", "", "cftool", "ls", "--config", "conf", "").lines == ["mine:"]
        assert run("__complete", "address", "", "cftool", "--config=conf", "ls", "").lines == ["mine:"]

    @pytest.mark.parametrize("words", [[], ["address"], ["address", "lab:", "--config", "/nonexistent"]])
    def test_what_fails_is_silent(self, run, work, words):
        ran = run("__complete", *words)
        assert (ran.out, ran.err) == (b"", "")

    def test_a_service_that_is_gone_is_silent(self, run, here, monkeypatch):
        monkeypatch.setenv("CFTOOL_GONE_TYPE", "s3")
        monkeypatch.setenv("CFTOOL_GONE_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("CFTOOL_GONE_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("CFTOOL_GONE_SECRET_ACCESS_KEY", "x")
        monkeypatch.setattr(complete, "SECONDS", 0.3)
        ran = run("__complete", "address", "gone:bucket/")
        assert (ran.out, ran.err) == (b"", "")

    def test_a_thousand_names_are_enough(self, run, fake_s3):
        fake_s3.make("bucket", [f"{number:05d}" for number in range(1_500)])
        lines = run("__complete", "address", "lab:bucket/").lines
        assert (len(lines), lines[-1]) == (1000, "lab:bucket/00999")

    def test_who_is_late_is_left_behind(self, here, monkeypatch):
        """A real process, because it must end although something in it still waits."""
        import socket

        with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
            settings = {
                "CFTOOL_SLOW_TYPE": "s3",
                "CFTOOL_SLOW_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
                "CFTOOL_SLOW_ACCESS_KEY_ID": "x",
                "CFTOOL_SLOW_SECRET_ACCESS_KEY": "x",
            }
            begun = time.monotonic()
            done = subprocess.run(
                [str(BIN / "cftool"), "__complete", "address", "slow:bucket/"],
                env={**os.environ, **settings},
                capture_output=True,
                check=True,
                timeout=60,
            )
            taken = time.monotonic() - begun
        assert (done.stdout, done.stderr) == (b"", b"")
        assert taken < 30  # the retries of a listing would go on for minutes

    def test_a_secret_that_may_ask_is_not_asked_for(self, run, here, monkeypatch):
        (here / "conf").write_text(
            '[remotes.asks]\ntype = "s3"\naccess_key_id = "x"\n'
            f'secret_access_key = {{ command = "touch {here}/asked; echo x" }}\n'
        )
        os.chmod(here / "conf", 0o600)
        assert run("__complete", "address", "", "--config", "conf").lines == ["asks:"]
        assert run("__complete", "address", "asks:", "--config", "conf").out == b""
        assert not (here / "asked").exists()

    def test_there_is_no_terminal_to_ask_on(self, here):
        """`getpass` and the like open /dev/tty: it is not there any more."""
        (here / "probe.py").write_text(
            "import os\n"
            "from cftool.cli import complete\n"
            "os.close(os.open('/dev/tty', os.O_RDWR))\n"  # there is one
            "complete._let_go()\n"
            "try:\n    os.open('/dev/tty', os.O_RDWR)\n"
            "except OSError:\n    os.write(1, b'none' + os.read(0, 1))\n"
        )
        # As a shell runs it: not as the first process of its session.
        command = f"{sys.executable} probe.py; true"
        done = subprocess.run(
            ["script", "-qec", command, "/dev/null"], capture_output=True, stdin=subprocess.DEVNULL, check=True
        )
        assert done.stdout.strip() == b"none"

    def test_nothing_slow_is_imported(self, here):
        script = (
            "import sys\nfrom cftool.cli.main import main\nmain(['__complete', 'address', 'l'])\n"
            "sys.stderr.write(' '.join(sys.modules))"
        )
        env = {**os.environ, "CFTOOL_LAB_TYPE": "memory"}
        done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, check=True, text=True)
        assert done.stdout == "lab:\nlocal:\n"
        assert {"typer", "rich", "click", "pycurl", "requests", "pydantic"} & set(done.stderr.split()) == set()


class TestTheTable:
    def test_every_command_is_there_with_its_flags(self):
        words = {command.words for command in spec.walk(spec.commands())}
        assert {(name,) for name in app.COMMANDS} | {("config", name) for name in app.CONFIG} <= words
        ls = next(command for command in spec.commands().below if command.name == "ls")
        assert {"-l", "--sort", "--json", "--help"} <= {name for flag in ls.flags for name in flag.names}
        assert [flag.value for flag in ls.flags if "--sort" in flag.names] == ["name size time"]

    @pytest.mark.parametrize(
        ("words", "position", "kind"),
        [
            (("cp",), 0, "address"),
            (("cp",), 7, "address"),
            (("sync",), 1, "address"),
            (("sync",), 2, ""),
            (("hash",), 3, "address"),
            (("config", "show"), 0, "remote"),
            (("config", "create"), 0, ""),
            (("config", "create"), 2, ""),
            (("completion",), 0, "bash zsh fish"),
            (("version",), 0, ""),
        ],
    )
    def test_what_completes_an_argument(self, words, position, kind):
        command = next(each for each in spec.walk(spec.commands()) if each.words == words)
        assert command.kind(position) == kind

    def test_types_are_words(self):
        commands = {each.words: each for each in spec.walk(spec.commands())}
        assert {"md5", "sha256", "dropbox"} <= set(commands["hash",].kind(0).split())
        assert {"s3", "local"} <= set(commands["config", "create"].kind(1).split())


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """The three scripts as files."""
    folder = tmp_path_factory.mktemp("completions")
    for shell, name in shells.SHELLS.items():
        (folder / name).write_text(shells.script(shell))
    return folder


def test_the_command_prints_them(run, scripts):
    for shell, name in shells.SHELLS.items():
        assert run("completion", shell).out.decode() == (scripts / name).read_text()
    (event,) = run("completion", "bash", "--json").events
    assert (event["event"], event["script"]) == ("completion", (scripts / "cftool.bash").read_text())
    assert "did you mean 'bash'?" in run("completion", "bahs", code=2).err
    with pytest.raises(KeyError):
        shells.script("powershell")


LINES = [
    ("cftool l", {"ls", "link"}),
    ("cftool config sh", {"show"}),
    ("cftool config show l", {"lab", "later"}),
    ("cftool -v ls --so", {"--sort"}),
    ("cftool ls --sort ", {"name", "size", "time"}),
    ("cftool ls --sort name la", {"lab:", "later:"}),
    ("cftool --config /dev/null ls l", {"lab:", "later:", "local:", "local/"}),
    ("cftool completion ", {"bash", "zsh", "fish"}),
    ("cftool hash sha2", {"sha256"}),
    ("cftool hash sha256 loc", {"local:", "local/"}),
    ("cftool sync local lab:bucket/do", {"lab:bucket/dot"}),
    ("cftool sync a b lo", set()),
    ("cftool rm -- -", {"-dash"}),
]

FISH = LINES[:-1]  # after -- fish itself offers nothing that begins with a dash


@pytest.fixture
def shell(work, scripts, monkeypatch):
    """A directory with local names, and the command on PATH."""
    tree(work, local__f="")
    (work / "-dash").write_text("")
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    return scripts


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
class TestBash:
    def complete(self, scripts, line, breaks=" \t\n\"'><=;|&(:"):
        code = (
            f"source {scripts}/cftool.bash; COMP_LINE=$1 COMP_POINT=${{#1}} COMP_WORDBREAKS=$2; _cftool; "
            'for each in "${COMPREPLY[@]}"; do printf "%s\\n" "$each"; done'
        )
        done = subprocess.run(
            ["bash", "--norc", "-c", code, "bash", line, breaks], capture_output=True, check=True, text=True
        )
        assert done.stderr == ""
        return done.stdout.splitlines()

    @pytest.mark.parametrize(("line", "expected"), LINES, ids=[line for line, _ in LINES])
    def test_lines(self, shell, line, expected):
        found = self.complete(shell, line, breaks=" \t\n")
        assert set(found) == expected

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("cftool ls lab:", ["bucket/"]),
            ("cftool ls lab:bucket/data/", ["bucket/data/a\\ b", "bucket/data/sub/", "bucket/data/x"]),
            ("cftool ls lab:bucket/data/a\\ ", ["bucket/data/a\\ b"]),
            ('cftool ls "lab:bucket/data/a ', ["lab:bucket/data/a b"]),
            ("cftool ls 'lab:bucket/data/a", ["lab:bucket/data/a b"]),
            ('cftool ls "lab:bucket/da"', ["lab:bucket/data/"]),  # as bash leaves it after a name with a blank
            ('cftool ls lab:"bucket/data/a', ["bucket/data/a b"]),
            ("cftool mount --cache-mode=r", ["read"]),
            ("cftool ls --sort=na", ["name"]),
            ("cftool ls a\\:b lab:bucket/do", ["bucket/dot"]),
        ],
    )
    def test_words_are_cut_and_quoted_as_bash_wants_them(self, shell, line, expected):
        assert sorted(self.complete(shell, line)) == expected

    def test_local_names_are_quoted(self, shell, work):
        (work / "with space").mkdir()
        assert self.complete(shell, "cftool ls wi") == ["with\\ space/"]
        (Path(os.environ["HOME"]) / "at home").mkdir()
        assert self.complete(shell, "cftool ls ~/") == [f"{os.environ['HOME']}/at\\ home/"]

    def test_a_line_that_bash_edits(self, shell, work):
        """An interactive bash on a terminal, TAB and all."""
        import pty

        parent, child = pty.openpty()
        env = {**os.environ, "PS1": "", "TERM": "dumb", "INPUTRC": "/dev/null", "HISTFILE": "/dev/null"}
        process = subprocess.Popen(
            ["bash", "--norc", "-i"], stdin=child, stdout=child, stderr=child, env=env, start_new_session=True
        )
        os.close(child)
        os.write(parent, f"source {shell}/cftool.bash\n".encode())
        os.write(parent, b"cftool cat lab:bucket/data/a\t > out; cftool ls lab:bucket/da\t -d > dirs; exit\n")
        try:
            while os.read(parent, 65536):
                pass
        except OSError:  # the terminal is gone with its last user
            pass
        process.wait(60)
        os.close(parent)
        assert (work / "out").read_bytes() == b"x"
        assert (work / "dirs").read_text() == "sub/\n"


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
class TestFish:
    @pytest.mark.parametrize(("line", "expected"), FISH, ids=[line for line, _ in FISH])
    def test_lines(self, shell, line, expected):
        code = f"source {shell}/cftool.fish; complete -C $argv[1]"
        done = subprocess.run(["fish", "--no-config", "-c", code, line], capture_output=True, check=True, text=True)
        assert done.stderr == ""
        found = {row.partition("\t")[0] for row in done.stdout.splitlines()}
        assert found == expected


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
class TestZsh:
    CODE = r"""
zmodload zsh/zpty
zpty shell zsh -f
zpty -w shell "PS1= PROMPT_EOL_MARK=; cd $3"
zpty -w shell "autoload -Uz compinit; compinit -u -D; source $1/_cftool"
zpty -w shell 'zstyle ":completion:*" list-colors ""; zmodload zsh/complist; LISTMAX=10000; unsetopt beep'
# What would be listed is written to a file in place of the screen.
zpty -w shell "source $3/spy.zsh"
zpty -w shell "print REA''DY"
zpty -r shell junk '*READY*'
zpty -n -w shell "$2"$'\t'
zpty -r shell junk '*DONE*'
zpty -d shell
"""

    SPY = r"""
compadd () {
    [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]] && { builtin compadd "$@"; return }
    local -a hits
    builtin compadd -O hits "$@"
    builtin compadd "$@" || return
    print -rl -- $hits >> found
}
tab () {
    zle complete-word
    print -n DONE > /dev/tty
}
zle -N tab
bindkey '^I' tab
"""

    @pytest.mark.parametrize(("line", "expected"), LINES, ids=[line for line, _ in LINES])
    def test_lines(self, shell, work, line, expected):
        (work / "spy.zsh").write_text(self.SPY)
        subprocess.run(
            ["zsh", "-f", "-c", self.CODE, "zsh", str(shell), line, str(work)],
            check=True,
            timeout=60,
            capture_output=True,
        )
        found = (work / "found").read_text().split("\n") if (work / "found").exists() else []
        assert {each for each in found if each} == {each.rstrip("/") if each == "local/" else each for each in expected}
