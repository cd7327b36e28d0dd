"""A measuring process and the one that asks it: a JSON object a line, over pipes.

Every measurement has a process of its own: memory is then its own, and what it changes ends with it.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

SHOWN = 300  # characters of what a process said before it died


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module in a new interpreter like this one."""
    return [sys.executable, "-m", module, *arguments]


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, in which a new interpreter finds the same package; with `changes`."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **(changes or {})}


class Worker:
    """A process that answers requests; a context manager that ends it.

    Args:
        command: of the process, which calls `serve`.
        changes: to its environment, and to nobody else's.

    Raises:
        RuntimeError: from `ask`: the process died, with what it said last; or the request failed there.
    """

    def __init__(self, command: Sequence[str], changes: Mapping[str, str] | None = None) -> None:
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (closed by `close`)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, encoding="utf-8",
            env=environment(changes),
        )  # fmt: skip

    def ask(self, request: str, **arguments: Any) -> Any:
        """What the process's function `request` returns for the arguments."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"request": request, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None
        return self.answer()

    def answer(self) -> Any:
        """The next answer; for a process that speaks first."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._died()
        reply = json.loads(line)
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply["answer"]

    def _died(self) -> RuntimeError:
        code = self._process.wait()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        self._errors.seek(0)
        said = " ".join(self._errors.read().split())[-SHOWN:]
        return RuntimeError(f"a measuring process {how}{': … ' + said if said else ', and said nothing'}")

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()  # at the end of its input it goes by itself
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._process.kill()
        self.close()


def serve(functions: Mapping[str, Callable[..., Any]]) -> None:
    """Answer requests until the input ends.

    What libraries print goes to stderr: stdout is for answers.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # for libraries in C too
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            reply = {"answer": functions[asked["request"]](**asked["arguments"])}
        except Exception as error:  # whatever it is, the other side is to say it
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=answers, flush=True)


def speak(answer: Any) -> None:
    """Send an answer that nobody asked for: `Worker.answer` of the process that started this one returns it."""
    print(json.dumps({"answer": answer}), flush=True)
