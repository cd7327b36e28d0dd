import io
import re
from threading import Event

import pytest
from rich.console import Console
from rich.progress import Progress

from aimv2_np.cli import output


@pytest.mark.parametrize(
    ("share", "bar"),
    [(0, ""), (1, "██████████"), (0.5, "█████"), (0.05, "▌"), (0.0125, "▏"), (0.005, ""), (0.99, "█████████▉")],
)
def test_bars_are_exact_to_an_eighth_of_a_character(share, bar):
    assert output.bar(share, 10) == bar


def test_bars_without_block_characters():
    assert output.bar(0.5, 10, "ascii") == "#####"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (5_195_612, "5.2 MB"), (1.236e9, "1.24 GB")],
)
def test_sizes(number, text):
    assert output.bytes_of(int(number)) == text


def test_plurals():
    assert [output.plural(n, "picture") for n in (0, 1, 2, 1234)] == [
        "0 pictures", "1 picture", "2 pictures", "1,234 pictures",
    ]  # fmt: skip


def screen(monkeypatch, *, terminal: bool) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr(output, "console", lambda **_: Console(file=stream, force_terminal=terminal, width=80))
    return stream


@pytest.fixture
def begun(monkeypatch) -> Event:
    """Set as soon as a bar is shown, which a thread of its own does."""
    shown, start = Event(), Progress.start
    monkeypatch.setattr(Progress, "start", lambda self: (start(self), shown.set()))
    return shown


def test_progress_shows_on_a_terminal_with_rate_and_time_left_and_vanishes(monkeypatch, begun):
    stream = screen(monkeypatch, terminal=True)
    monkeypatch.setattr(output, "PATIENCE", 0.0)
    with output.progress("embedding [all]") as advance:
        advance(100, 140)  # a hundred were done before
        assert begun.wait(60)
        for done in (120, 140):
            advance(done, 140)
    shown = stream.getvalue()
    assert "embedding [all]" in shown
    assert "140/140" in shown
    assert re.search(r"\d/s", shown)
    assert "0:00:00" in shown
    assert shown.endswith("\x1b[2K")  # the line is erased


@pytest.mark.parametrize("local", [True, False])
def test_the_bar_of_a_folder_waits_for_no_call(monkeypatch, begun, tmp_path, local):
    stream = screen(monkeypatch, terminal=True)
    monkeypatch.setattr(output, "PATIENCE", 0.0)
    with output.progress("loading", loads=tmp_path if local else "apple/aimv2") as advance:
        if not local:
            assert stream.getvalue() == ""
            advance(0, 2000)
        assert begun.wait(60)
        advance(2000, 2000)
    assert "2.0/2.0 kB" in stream.getvalue()


def test_short_work_shows_no_progress(monkeypatch):
    stream = screen(monkeypatch, terminal=True)
    monkeypatch.setattr(output, "PATIENCE", 3600.0)
    with output.progress("classifying") as advance:
        advance(8, 8)
    assert stream.getvalue() == ""


def test_no_progress_in_a_file(monkeypatch):
    stream = screen(monkeypatch, terminal=False)
    monkeypatch.setattr(output, "PATIENCE", 0.0)
    with output.progress("classifying") as advance:
        advance(8, 8)
    assert stream.getvalue() == ""


def test_a_spinner_shows_on_a_terminal_and_vanishes(monkeypatch):
    shown = Event()

    class Screen(Console):
        def status(self, *arguments, **options):
            status = super().status(*arguments, **options)
            start = status.start
            status.start = lambda: (start(), shown.set())
            return status

    stream = io.StringIO()
    monkeypatch.setattr(output, "console", lambda **_: Screen(file=stream, force_terminal=True, width=80))
    monkeypatch.setattr(output, "PATIENCE", 0.0)
    with output.waiting("loading"):
        assert shown.wait(60)
    assert "loading" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[2K")


def test_no_spinner_in_a_file(monkeypatch):
    stream = screen(monkeypatch, terminal=False)
    monkeypatch.setattr(output, "PATIENCE", 0.0)
    with output.waiting("loading"):
        pass
    assert stream.getvalue() == ""


def test_a_line_of_progress_every_thirty_seconds_where_there_is_no_terminal(capsys):
    now = [100.0]
    with output.progress("embedding", clock=lambda: now[0]) as advance:
        for second, done in ((100, 1000), (129, 1500), (130, 2000), (140, 2500), (160, 3000)):
            now[0] = second
            advance(done, 4000)
    assert capsys.readouterr().err.splitlines() == [
        "embedding: 2,000 of 4,000, 2,000 a minute",
        "embedding: 3,000 of 4,000, 2,000 a minute",
    ]
