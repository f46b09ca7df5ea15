"""Devices are described by name, looked at and lent, as a person types it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hardware import checkup, remote
from hardware.agent import Agent
from hardware.checkup import Checkup, check_up, noise
from hardware.described import folder, read_device
from hardware.device import local_device
from hardware.errors import DeviceError
from hardware.journal import Burst
from hardware.options import DeviceOptions
from supernet.config import read_toml
from supernet.errors import SupernetError
from zoo.cli import app

TOKEN = remote.TOKEN


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERNET_HOME", str(tmp_path))


@pytest.fixture(scope="module")
def lent() -> Iterator[tuple[str, str]]:
    """The address and the token of an agent in a process of its own."""
    words = [sys.executable, "-m", "zoo.cli", "device", "serve", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        said = "".join(agent.stdout.readline() for _ in range(4))
        token = re.search(rf"{TOKEN}=(\S+)", said)
        address = re.search(r"device add NAME --address (http://localhost:\d+)", said)
        assert token and address, said
        yield address[1], token[1]
        agent.terminate()
    assert agent.returncode == 143


def typed(*words: str) -> str:
    """What a command prints."""
    return CliRunner().invoke(app, ["device", *words], catch_exceptions=False).output


def document(*words: str) -> dict[str, object]:
    """What a command answers to a program."""
    return json.loads(CliRunner().invoke(app, ["device", *words, "--json"], catch_exceptions=False).stdout)  # type: ignore[no-any-return]


def refused(*words: str) -> str:
    """The message a command ends with."""
    result = CliRunner().invoke(app, ["device", *words])
    assert isinstance(result.exception, SupernetError), result.output
    return str(result.exception)


def test_a_device_is_a_file_that_pictures_its_options() -> None:
    typed("add", "desk", "--threads", "2", "--set", "batch=4", "--set", "device.optimisation=disable")
    options = DeviceOptions(threads=2, batch=4, optimisation="disable", name="desk")
    assert read_toml(folder() / "desk.toml", DeviceOptions) == read_device("desk") == options
    shown = document("show", "desk")
    assert shown == local_device(options).to_json() and shown["name"] == "desk"


def test_what_is_listed_was_added_and_not_removed() -> None:
    for name in ("desk", "eager"):
        typed("add", name, "--runtime", "torch")
    typed("remove", "desk")
    assert document("list") == {
        "devices": [
            {
                "name": "eager",
                "id": local_device(read_device("eager")).id,
                "runtime": "torch",
                "address": "this machine",
                "reachable": "yes",
                "why": "",
            }
        ]
    }


def test_a_damaged_description_hides_no_other() -> None:
    typed("add", "desk", "--runtime", "torch")
    (folder() / "broken.toml").write_text("threads = many")
    rows = {row["name"]: row for row in document("list")["devices"]}  # type: ignore[attr-defined]
    assert "is not valid TOML" in rows["broken"]["why"] and rows["desk"]["reachable"] == "yes"


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (
            "add kitchen",
            "a device is called 'kitchen' already; choose another name, or: supernet device remove",
        ),
        ("show kitchn", "no device is called 'kitchn'; did you mean 'kitchen'? (there are: kitchen)"),
        ("check garden", "describe it first: supernet device add garden"),
        ("remove kitchn", "did you mean 'kitchen'"),
        ("add ../up", "no device can be called '../up'; a name has up to 40 letters, digits and hyphens"),
        ("add onnx", "no device can be called 'onnx'"),
        ("check http://board:1", "name it: supernet device add NAME --address http://board:1, or"),
        ("show -- -x", "no device can be called '-x'"),
        ("add a --set name=b", "is to be called 'a' and 'b'"),
        ("add a --set thread=2", "unknown key 'thread'; did you mean 'threads'?"),
        ("add a --threads 0", "threads is 0; it can be at least 1"),
        ("add a --runtime onnxrun", "did you mean 'onnxruntime'?"),
        ("add a --set optimisation=al", "did you mean 'all'?"),
        ("add a --address http://board --set optimisation=al", "did you mean 'all'?"),
        ("add a --address board:8765", "it looks like http://localhost:8765"),
        ("show kitchen --threads 2", "leave out --address and --threads"),
    ],
)
def test_a_mistake_is_answered_with_what_is_accepted(words: str, answer: str) -> None:
    typed("add", "kitchen")
    before = sorted(folder().iterdir())
    assert answer in refused(*words.split())
    assert sorted(folder().iterdir()) == before


def test_an_agent_that_is_not_there_is_said_to_be_unreachable() -> None:
    typed("add", "board", "--address", "http://localhost:1")
    assert "no agent answers at http://localhost:1" in refused("check", "board")
    (row,) = document("list")["devices"]  # type: ignore[misc]
    assert row["why"].startswith("no agent answers") and (row["reachable"], row["id"]) == ("no", "")
    assert "measured" not in row["why"], "nothing was, and nothing is kept"


def test_an_agent_is_checked_with_its_token_and_without(
    lent: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, token = lent
    typed("add", "board-1", "--address", address)
    monkeypatch.setenv(TOKEN, "guess")
    assert f"put it into the variable {TOKEN}, or {TOKEN}_BOARD_1" in refused("check", "board-1")
    assert "the token is missing or wrong" in " ".join(typed("list").split())
    monkeypatch.setenv(f"{TOKEN}_BOARD_1", token)
    assert f"The agent at {address} answers, speaks this protocol and knows the token." in typed(
        "check", "board-1"
    )
    assert document("show", "board-1") == local_device().to_json() | {"name": "board-1"}
    monkeypatch.setattr(remote, "PROTOCOL", 99)
    assert "speaks another protocol than 99" in refused("check", "board-1")


def test_a_device_is_lent_from_one_process_to_another(
    lent: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, lent[1])
    assert document("show", "--address", lent[0]) == document("show")


def test_noise_is_how_far_a_burst_usually_is_from_the_one_before() -> None:
    bursts = [Burst(ms, ms, ms, ms, 18) for ms in (1.0, 1.1, 1.1, 1.1 * 1.2, 1.1 * 1.2 * 1.3)]
    assert noise(bursts) == pytest.approx(0.15)
    checked = Checkup(local_device(), 1.0, 0.15, 0.03)
    assert not checked.is_quiet and Checkup(checked.device, 1.0, 0.01, 0.03).is_quiet


@pytest.mark.parametrize(
    ("noise", "words"), [(0.2, "Note: it is too noisy to be measured well"), (0.01, "It is quiet enough")]
)
def test_a_machine_that_is_too_noisy_is_flagged(
    noise: float, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed("add", "desk", "--runtime", "torch")
    monkeypatch.setattr(checkup, "noise", lambda _: noise)
    result = CliRunner().invoke(app, ["device", "check", "desk", "--json"], catch_exceptions=False)
    assert words in " ".join(result.stderr.split())
    assert json.loads(result.stdout)["is_quiet"] is (noise < 0.03)


@pytest.mark.parametrize("words", ["--port 99999", "--port 0 --max-megabytes 0"])
def test_an_agent_that_could_listen_to_nobody_or_take_nothing_is_refused(
    words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Agent, "serve_forever", lambda self: pytest.fail("it listens"))
    result = CliRunner().invoke(app, ["device", "serve", *words.split()])
    assert result.exit_code == 2 and "than or equal" in " ".join(result.output.split())


def test_what_answers_and_is_no_agent_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "urlopen", lambda *_, **__: _Answer(b'["something"]'))
    with pytest.raises(DeviceError, match="is no agent"):
        check_up(DeviceOptions(address="http://board"))


class _Answer:
    def __init__(self, body: bytes) -> None:
        self.read = lambda: body

    def __enter__(self) -> _Answer:
        return self

    def __exit__(self, *_: object) -> None: ...
