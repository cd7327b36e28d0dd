"""The runner of Dockerfiles itself; `python -m tests.tools.run_dockerfile` runs the one of docs/container.md."""

import pytest

from tests.tools.run_dockerfile import Image, instructions


@pytest.fixture
def image(tmp_path):
    (tmp_path / "context" / "package").mkdir(parents=True)
    (tmp_path / "context" / "package" / "code.py").write_text("1")
    (tmp_path / "context" / "README.md").write_text("words")
    (tmp_path / "root").mkdir()
    return Image(tmp_path / "context", tmp_path / "root")


def test_a_folder_is_copied_as_docker_does(image):
    image.apply("COPY", "README.md /src/")
    image.apply("COPY", "package /src/package")
    assert (image.root / "src" / "README.md").read_text() == "words"
    assert (image.root / "src" / "package" / "code.py").read_text() == "1"


def test_steps_run_in_their_folder_and_stop_at_an_error(image):
    image.apply("COPY", "README.md /src/")
    image.apply("WORKDIR", "/data")
    image.apply("RUN", "cat /src/README.md > here")
    assert (image.root / "data" / "here").read_text() == "words"
    with pytest.raises(Exception, match="non-zero exit status 1"):
        image.apply("RUN", "false && true")


def test_arguments_replace_the_command_and_follow_the_entrypoint(image):
    image.apply("WORKDIR", "/data")
    image.apply("ENTRYPOINT", '["touch"]')
    image.apply("CMD", '["default"]')
    image.start()
    image.start("given")
    assert sorted(path.name for path in (image.root / "data").iterdir()) == ["default", "given"]


def test_lines_that_go_on_are_one(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```dockerfile\nFROM python:3.12-slim\nRUN a && \\\n    b\n```\n")
    assert instructions(page) == [("FROM", "python:3.12-slim"), ("RUN", "a &&      b")]
