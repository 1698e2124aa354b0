"""command.py: what a command ends with, and that Ctrl-C can wait."""

import functools
import os
import signal
import subprocess
import sys

import pytest

from tinygrad_mnist.command import ENDING, LONGEST, Parser, guarded, near_file, uninterrupted


def ended(body, redirected="", **options):
    """Run a command with this body in a process of its own: its status, output and error."""
    text = f"import sys\nfrom tinygrad_mnist.command import guarded\ndef command():\n    {body}\n    return 0\n"
    text += "sys.exit(guarded(command))"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    line = f'"$0" -c "$1" {redirected}'
    done = subprocess.run(
        ["/bin/sh", "-c", line, sys.executable, text], capture_output=True, text=True, env=environment, **options
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ("pass", 0, ""),
        ("raise ValueError('two\\nlines')", 1, "error: two lines\n"),
        ("open('/no/such')", 1, "error: /no/such: No such file or directory\n"),
        ("raise MemoryError", 1, "error: MemoryError\n"),
        ("raise KeyboardInterrupt", 130, "interrupted\n"),
        ("raise SystemExit(2)", 2, ""),
        ("import signal; signal.raise_signal(signal.SIGTERM)", 143, "interrupted\n"),
        ("raise ValueError('a' * 300_000 + ' remedy')", 1, f"error: {'a' * 500} ... {'a' * 493} remedy\n"),
        ("open('b' * 300_000)", 1, f"error: {'b' * 500} ... {'b' * 480}: File name too long\n"),
    ],
)
def test_what_goes_wrong_is_a_line_and_a_status(body, status, error):
    assert ended(body) == (status, "", error)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("body", ["print(1)", "print(1); raise SystemExit(0)"])
def test_output_that_cannot_be_written_is_a_line_too(body):
    status, _, error = ended(body, "> /dev/full")
    assert (status, error) == (1, "error: standard output: No space left on device\n")


def test_output_that_nobody_reads_ends_a_command_quietly():
    assert ended("print(1)", "| true")[2] == ""


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_trouble(streams):
    assert ended("print(1); print(2, file=sys.stderr)", streams)[0] == 0


def test_a_terminal_without_a_letter_shows_a_question_mark():
    done = subprocess.run(
        [sys.executable, "-c", "from tinygrad_mnist.command import guarded\nguarded(lambda: print('η') or 0)"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (done.stdout.strip(), done.stderr) == (b"?", b"")


@pytest.mark.parametrize(("name", "shown"), [(b"\xc3\xa9.npz", b"\xc3\xa9.npz"), (b"\xff\xc3.npz", b"??.npz")])
def test_the_name_of_a_file_is_written_as_it_is_where_python_cannot_read_it(name, shown):
    text = "import os\nfrom tinygrad_mnist.command import guarded\n"
    text += f"guarded(lambda: print('\\u03b7', os.fsdecode({name!r})) or open(os.fsdecode({name!r})))"
    done = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    )
    assert done.stdout.strip() == b"? " + shown
    assert done.stderr.strip() == b"error: " + shown + b": No such file or directory"


def test_an_interruption_waits_for_the_end_of_the_block():
    done = []

    def block():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done == ["all of it"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs POSIX's signals")
@pytest.mark.parametrize("ignored", [False, True])
def test_a_terminal_that_is_closed_ends_a_command_unless_that_is_ignored(ignored):
    body = "import signal; signal.raise_signal(signal.SIGHUP)"
    status, _, error = ended(
        body, preexec_fn=(lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) if ignored else None
    )
    assert (status, error) == ((0, "") if ignored else (143, "interrupted\n"))


def test_signals_are_heard_as_before_when_a_command_is_done():
    before = [signal.getsignal(number) for number in ENDING]

    def command():
        assert all(callable(signal.getsignal(number)) for number in ENDING)
        with uninterrupted():
            for number in ENDING:
                signal.raise_signal(number)
            done.append("all of it")
        return 0

    done: list[str] = []
    assert (guarded(command), done) == (143, ["all of it"])
    assert [signal.getsignal(number) for number in ENDING] == before


def test_a_second_signal_does_not_disturb_what_the_first_began():
    body = "import signal\n    try:\n        signal.raise_signal(signal.SIGTERM)\n    finally:\n"
    body += "        signal.raise_signal(signal.SIGTERM); print('saved')"
    assert ended(body) == (143, "saved\n", "interrupted\n")


@pytest.mark.parametrize("text", ["--save=--", "--sizes=--", "--no-such=--", "-x=--"])
def test_two_dashes_are_no_value(text, capsys):
    parser = Parser("program", None)
    parser.add_argument("--save")
    parser.add_argument("--sizes", nargs="+")
    parser.add_argument("rest", nargs="*")
    with pytest.raises(SystemExit) as usage:
        parser.parse_args([text, "--", "a"])
    assert usage.value.code == 2
    expected = f"argument {text[:-3]}: expected a value, got '--' (`program --help` tells the options)\n"
    assert capsys.readouterr().err.splitlines(keepends=True)[-1].endswith(expected)
    assert parser.parse_args(["a", "--", "--save=--"]).rest == ["a", "--save=--"]


def test_wrong_usage_of_any_length_is_said_in_a_short_line(capsys):
    parser = Parser("program", None)
    parser.add_argument("--number", type=int)
    for arguments in (["--number", "9x" * 150_000], ["--other\n" + "x" * 300_000]):
        with pytest.raises(SystemExit):
            parser.parse_args(arguments)
        assert len(capsys.readouterr().err) < 2 * LONGEST


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epoch", "1"], "unrecognized arguments: --epoch 1; did you mean --epochs?"),
        (["--HIST=h.json"], "unrecognized arguments: --HIST=h.json; did you mean --history?"),
        (["--colour"], "unrecognized arguments: --colour"),
        (["netwrok2"], "unrecognized arguments: netwrok2; did you mean python -m zoo.network2?"),
        (["zoo.network2"], "unrecognized arguments: zoo.network2; did you mean python -m zoo.network2?"),
        (["foo"], "unrecognized arguments: foo"),
        (
            ["--cost", "sofmax"],
            "argument --cost: expected one of softmax, linear, got 'sofmax'; did you mean softmax?",
        ),
        (["--cost", "x"], "argument --cost: expected one of softmax, linear, got 'x'"),
    ],
)
def test_what_may_have_been_meant_is_named(arguments, message, capsys):
    parser = Parser("program", None, commands=["zoo.network", "zoo.network2"])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--history")
    parser.add_argument("--cost", choices=["softmax", "linear"])
    with pytest.raises(SystemExit) as usage:
        parser.parse_args(arguments)
    assert usage.value.code == 2
    assert capsys.readouterr().err == f"program: error: {message} (`program --help` tells the options)\n"


def test_a_file_that_is_not_there_is_compared_with_those_that_are(tmp_path, monkeypatch, capsys):
    (tmp_path / "model.npz").touch()
    for given, meant in [("modle.npz", "model.npz"), (str(tmp_path / "moel.npz"), str(tmp_path / "model.npz"))]:
        monkeypatch.chdir(tmp_path)
        assert guarded(functools.partial(os.listdir, given)) == 1  # type: ignore[arg-type]
        assert capsys.readouterr().err == f"error: {given}: No such file or directory; did you mean {meant}?\n"
    for given in ("q", "no/such/directory", "x" * 300, "\0", "model.npz"):  # the last is there, and no directory
        assert near_file(given) == ""


@pytest.mark.parametrize("columns", [40, 80, 100, 120])
def test_help_fits_the_terminal_and_uses_it(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    words = " ".join(f"word{i}" for i in range(100))
    parser = Parser("program", f"{words}\n\n    python -m program  # as it is\n")
    parser.add_argument("--option", help=f"{words} --lr-gamma")
    lines = parser.format_help().splitlines()
    assert columns - 12 < max(map(len, lines)) <= columns
    assert "    python -m program  # as it is" in lines


def test_a_command_returns_its_status_to_a_caller_in_python():
    assert guarded(lambda: 3) == 3


@pytest.mark.skipif(os.name != "posix", reason="the exit status of a signal")
@pytest.mark.parametrize("module", ["zoo.network1", "zoo", "graphs.learning"])
def test_an_interruption_while_numpy_is_imported_is_no_traceback(module, tmp_path):
    (tmp_path / "numpy.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    done = subprocess.run(
        [sys.executable, "-m", module], capture_output=True, env={**os.environ, "PYTHONPATH": str(tmp_path)}
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


def test_a_command_hears_of_an_interruption_though_nobody_else_did():
    body = "import signal; signal.raise_signal(signal.SIGINT)"
    unheard = "import signal, sys\nsignal.signal(signal.SIGINT, signal.SIG_DFL)\n"
    text = (
        f"{unheard}from tinygrad_mnist.command import guarded\ndef command():\n    {body}\nsys.exit(guarded(command))"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True)
    assert (done.returncode, done.stderr) == (130, b"interrupted\n")
