"""Production moves as one: with a server that is asked, and with two who move it at once."""

import itertools
import json
import multiprocessing
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gan_components.errors import InputError
from gan_components.export import production, promotions, registry, serving_directory
from gan_components.export.errors import ServerError
from tests.commandline import call
from tests.gan_components.export.test_export_stage import QUICK, export, state


@dataclass
class Server:
    """Answers the model-status API; `listed` is what ``models.config`` said whenever it was asked."""

    serving_root: Path
    address: str = ""
    states: list[str] = field(default_factory=list)
    """What it says next, a state or an HTTP error; when there is no more: AVAILABLE."""
    asked: list[str] = field(default_factory=list)
    listed: list[list[int]] = field(default_factory=list)

    def answer(self, path: str) -> tuple[int, dict]:
        self.asked.append(path)
        model, version = path.removeprefix("/v1/models/").split("/versions/")
        self.listed.append(serving_directory.listed(self.serving_root, model))
        state = self.states.pop(0) if self.states else "AVAILABLE"
        if not state.isupper():
            return int(state), {"error": "Could not find version of model"}
        status = {"error_code": "OK", "error_message": ""}
        return 200, {"model_version_status": [{"version": version, "state": state, "status": status}]}


@pytest.fixture
def server(destination) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = answering.answer(self.path)
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        answering = Server(destination.serving_root, f"http://127.0.0.1:{http.server_port}")
        threading.Thread(target=http.serve_forever).start()
        yield answering
        http.shutdown()


def test_a_move_lists_both_until_the_server_has_the_new_one(destination, generator, server):
    """Red if the outgoing version goes at once, or stays when the new one is available."""
    asking = replace(destination, server=server.address)
    export(asking, generator, name="one")
    assert server.asked == []  # nothing to keep: nobody has to be asked
    server.states = ["404", "LOADING", "AVAILABLE"]
    export(asking, generator, name="two")
    assert server.asked == [f"/v1/models/{destination.model_name}/versions/2"] * 3
    assert server.listed == [[1, 2]] * 3
    assert state(destination)["served"] == [2]
    server.listed.clear()
    production.promote(asking, "1", why="two looks odd")
    assert server.listed == [[1, 2]]
    assert state(destination)["served"] == [1]


def test_a_server_that_does_not_come_is_told_and_the_move_ends_later(destination, generator, server, monkeypatch):
    """Red if the outgoing version is dropped unseen, the log waits for the server, or nothing ends the move."""
    export(destination, generator, name="one")
    export(destination, generator, name="two", config=QUICK.model_copy(update={"promote": "manual"}))
    monkeypatch.setattr(production, "_SERVER_TIMEOUT_SECONDS", 0.0)
    asking = replace(destination, server=server.address)
    server.states = ["LOADING"] * 10
    with pytest.raises(
        ServerError, match=r"\(LOADING\).*still lists the outgoing version 1 .*promote .* champion"
    ):
        production.promote(asking, "2", why="better")
    both = state(destination)
    assert (both["champion"], both["served"], both["log"]) == ("2", [1, 2], [(None, 1), (1, 2)])
    for address, reason in [("http://127.0.0.1:9", "no usable answer"), (server.address, "answered 500")]:
        server.states = ["500"]
        with pytest.raises(ServerError, match=reason):
            production.settle(replace(destination, server=address))
    with pytest.raises(InputError, match="must be http://HOST:PORT"):
        production.settle(replace(destination, server="localhost:8501"))
    assert state(destination) == both
    server.states = []
    assert production.promote(asking, "2", why="again") is None
    assert state(destination) == {**both, "served": [2]}


def test_the_commands_ask_the_server_that_the_environment_names(destination, generator, server):
    """Red if `GAN_PIPELINES_SERVER` is not passed on, or a rollback needs a second command."""
    name = destination.model_name
    export(destination, generator, name="one")
    export(destination, generator, name="two", config=QUICK.model_copy(update={"promote": "manual"}))
    variables = {"GAN_PIPELINES_SERVER": server.address}
    for command, moved_to in [(("promote", name, "2"), 2), (("rollback", name, "--why", "blurred"), 1)]:
        done = call(*command, root=destination.root, sets=[], variables=variables)
        assert done.code == 0, done.stderr
        assert server.asked.pop().endswith(f"{name}/versions/{moved_to}")
        assert state(destination)["served"] == [moved_to]
    history = call("history", name, root=destination.root, sets=[]).document["promotions"]
    moves = [(move["from_version"], move["to_version"], move["why"]) for move in history[1:]]
    assert moves == [(1, 2, "promoted by hand"), (2, 1, "blurred")]


ROUNDS = 200


def _promote_in_rounds(destination, version, barrier) -> None:
    for number in range(ROUNDS):
        barrier.wait()
        production.promote(destination, version, why=f"round {number}")
        barrier.wait()


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_two_who_promote_at_once_agree_every_time(destination, generator):
    """Red without the lock in `promote`: the log's last line is not the alias, or its chain breaks."""
    name = destination.model_name
    export(destination, generator, name="one")
    export(destination, generator, name="two")
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3, timeout=300)
    children = [
        context.Process(target=_promote_in_rounds, args=(destination, version, barrier)) for version in ("1", "2")
    ]
    for child in children:
        child.start()
    disagreements = []
    winners = set()
    for number in range(ROUNDS):
        barrier.wait()
        barrier.wait()
        champion = registry.champion(destination.tracking_uri, name).version
        served = serving_directory.listed(destination.serving_root, name)
        log = promotions.read_all(destination.root, name)
        chain = [(a.to_version, b.from_version) for a, b in itertools.pairwise(log)]
        if served != [int(champion)] or log[-1].registry_version != champion or any(a != b for a, b in chain):
            disagreements.append((number, champion, served, log[-1].registry_version))
        winners.add(champion)
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0]
    assert disagreements == []
    assert winners == {"1", "2"}  # else nobody raced
    assert len(log) >= ROUNDS
