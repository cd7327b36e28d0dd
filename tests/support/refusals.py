"""What a command that cannot do what it is asked for has to say."""

from click.testing import Result


def assert_error(result: Result, message: str) -> None:
    """One line of error with the message in it, exit code 1, and nothing on standard output."""
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
