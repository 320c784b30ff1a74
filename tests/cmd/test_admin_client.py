import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

from dht14.app import admin_files
from dht14.app.data_dir import DataDir
from dht14.app.state_file import StateFile
from dht14.cmd import admin_client
from dht14.net.admin.refusals import MISSING, REFUSED
from tests.cmd.admin_case import AdminCommandCase
from tests.cmd.admin_server import STATUS, TOKEN, AdminServer
from tests.cmd.shell import Outcome, run
from tests.process.ports import free_port

ANSWERS = {"/v1/status": STATUS}


class SocketTests(AdminCommandCase):
    """The admin surface at its socket."""

    def test_found(self) -> None:
        """--data-dir, the environment and the configuration file lead to the socket."""
        config = Path(self.mktemp())
        config.write_text(f"[node]\ndata_dir = {self.data_dir}\n[security]\nencryption_key = file:nowhere\n")
        with AdminServer(self.data_dir, ANSWERS) as server:
            for words in (server.words, ("--config", str(config))):
                self.assertEqual(json.loads(run("status", "--json", *words).out), STATUS)
            os.environ["DHT14_NODE_DATA_DIR"] = self.data_dir
            self.assertEqual(run("status").code, 0)
        self.assertEqual(server.paths, ["/v1/status"] * 3)

    def test_no_token(self) -> None:
        """The socket is sent no token, even if there is one."""
        (Path(self.data_dir) / "admin.token").write_text(TOKEN)
        with AdminServer(self.data_dir, ANSWERS) as server:
            run("status", *server.words)
        self.assertNotIn("Authorization", server.requests[0][2])

    def refused(self, *words: str) -> Outcome:
        outcome = run("status", "--data-dir", self.data_dir, *words)
        self.assertEqual((outcome.code, outcome.out, outcome.error.count("\n")), (3, b"", 1))
        return outcome

    def test_no_node(self) -> None:
        """Without a node, and where a killed one has left its socket, the error says so."""
        self.assertIn(f"no node runs in {self.data_dir}; name its directory", self.refused().error)
        with AdminServer(self.data_dir, {}):
            pass
        self.assertTrue((Path(self.data_dir) / "admin.sock").is_socket())
        self.assertIn("no node runs in", self.refused().error)

    def test_node_without_socket(self) -> None:
        """A node that runs without the socket is distinguished from no node."""
        data_dir = DataDir.open(self.data_dir)
        self.addCleanup(data_dir.close)
        StateFile(data_dir).write([], True)
        self.assertIn("has no socket admin.sock; if its [node] admin_address", self.refused().error)
        printed = json.loads(run("status", "--data-dir", self.data_dir, "--json").out)
        self.assertEqual(printed["error"], "no_admin_surface")

    def test_address_of_running_node(self) -> None:
        """The directory of a node with HOST:PORT is enough: the node has left there where it can be asked."""
        with AdminServer(self.data_dir, ANSWERS, TOKEN) as server:
            data_dir = DataDir.open(self.data_dir)
            self.addCleanup(data_dir.close)
            StateFile(data_dir, server.address).write([], True)
            outcome = run("status", "--json", "--data-dir", self.data_dir)
        self.assertEqual(json.loads(outcome.out), STATUS)
        StateFile(data_dir, "nonsense").write([], True)
        self.assertIn("has no socket", self.refused().error)

    def test_hints(self) -> None:
        """What a node says of its pages is said of commands."""
        pages = [hint for _, _, hint in (*REFUSED.values(), *MISSING.values()) if "See /readyz" in hint]
        with AdminServer(self.data_dir, {}) as server:
            for hint in (*pages, "See /readyz, and the log.", "GET /v1/kept lists what is."):
                server.answers = {"/v1/status": (503, {"error": "no", "hint": hint})}
                error = self.refused().error
                self.assertIn("no; dht14 ", error)
                self.assertNotIn("/", error)

    def test_none(self) -> None:
        """A node that is configured to have no admin surface is not asked."""
        self.assertIn("admin_address is none", self.refused("--admin-address", "none").error)

    def test_long_path(self) -> None:
        """A path may be too long for a socket; where such a one cannot be reached, that is explained."""
        folder = os.path.join(self.mktemp(), "d" * 120)
        os.makedirs(folder)
        self.assertIn("no node runs in", run("status", "--data-dir", folder).error)
        self.patch(admin_files, "_OPEN_FOLDER", "/nowhere/{}")
        outcome = run("status", "--data-dir", folder)
        self.assertEqual(outcome.code, 3)
        self.assertIn("too long for a Unix socket", outcome.error)

    def test_wrong_usage(self) -> None:
        """A wrong address is a wrong configuration, as for the node; an unknown option is wrong usage."""
        self.assertEqual(run("status", "--admin-address", "nonsense").code, 78)
        self.assertEqual(run("status", "--tokn", "f").code, 2)
        self.assertEqual(run("status", "more").code, 2)


class TokenTests(AdminCommandCase):
    """The admin surface at HOST:PORT, which wants a token."""

    def test_found(self) -> None:
        """The token is read from the data directory, or from the file that is named."""
        elsewhere = Path(self.mktemp())
        elsewhere.write_text(TOKEN)
        with AdminServer(self.data_dir, ANSWERS, TOKEN) as server:
            for words in (server.words, ("--admin-address", server.address, "--token-file", str(elsewhere))):
                outcome = run("status", "--json", *words)
                self.assertEqual((outcome.code, outcome.error), (0, ""))
        self.assertEqual(server.requests[0][2]["Host"], server.address)

    def test_any_address(self) -> None:
        """A node that listens on all addresses is asked on loopback."""
        with AdminServer(self.data_dir, ANSWERS, TOKEN) as server:
            port = server.address.rpartition(":")[2]
            words = ("--data-dir", self.data_dir, "--admin-address", f"0.0.0.0:{port}")
            self.assertEqual(run("status", *words).code, 0)

    def test_missing(self) -> None:
        """Without the token the error says where it was looked for, and what to do."""
        with AdminServer(self.data_dir, ANSWERS, TOKEN) as server:
            (Path(self.data_dir) / "admin.token").unlink()
            outcome = run("status", *server.words, "--json")
        self.assertEqual((outcome.code, json.loads(outcome.out)["error"]), (3, "token"))
        self.assertIn(os.path.join(self.data_dir, "admin.token"), outcome.error)
        self.assertIn("--token-file", outcome.error)

    def test_wrong(self) -> None:
        """A wrong token is exit code 3, and is not printed."""
        with AdminServer(self.data_dir, ANSWERS, TOKEN) as server:
            (Path(self.data_dir) / "admin.token").write_text("another-token")
            outcome = run("status", *server.words)
        self.assertEqual(outcome.code, 3)
        self.assertIn("has another token", outcome.error)
        self.assertNotIn("another-token", outcome.error)

    def test_bad_token_file(self) -> None:
        """A token file that is named and has no token is wrong usage, and nothing is sent."""
        empty = Path(self.mktemp())
        with AdminServer(self.data_dir, ANSWERS, TOKEN) as server:
            for content in (None, "", "two\nlines"):
                if content is not None:
                    empty.write_text(content)
                outcome = run("status", *server.words, "--token-file", str(empty))
                self.assertEqual(outcome.code, 2, content)
                self.assertIn(str(empty), outcome.error)
        self.assertEqual(server.requests, [])

    def test_nobody(self) -> None:
        """Where nobody listens: exit code 3, in one line."""
        nobody = f"127.0.0.1:{free_port()}"
        outcome = run("status", "--admin-address", nobody)
        self.assertEqual((outcome.code, outcome.error.count("\n")), (3, 1))
        self.assertIn(f"no admin surface at {nobody}: Connection refused", outcome.error)


class AnswerTests(AdminCommandCase):
    """Answers that are no success."""

    def test_refusals(self) -> None:
        """A refusal keeps the words of the node, and has the exit code of its kind."""
        for status, code, word in (
            (400, 2, "wrong_usage"),
            (403, 3, "refused"),
            (404, 1, "not_found"),
            (410, 1, "deleted"),
            (429, 3, "busy"),
            (503, 3, "not_ready"),
            (500, 3, "refused"),
        ):
            answers = {"/v1/status": (status, {"error": "so it is", "hint": "Do that."})}
            outcome = self.ask("status", "--json", answers=answers)
            self.assertEqual((outcome.code, json.loads(outcome.out)["error"]), (code, word), status)
            self.assertIn("so it is. Do that.", outcome.error)
            os.unlink(os.path.join(self.data_dir, "admin.sock"))

    def test_no_admin_surface(self) -> None:
        """What is no JSON of a node comes from something else."""
        answers: list[Any] = [b"<html>", (404, b"<html>"), (404, [1]), (404, {"detail": "none"}), {}, [], 5]
        for answer in answers:
            outcome = self.ask("status", answers={"/v1/status": answer})
            self.assertEqual(outcome.code, 3)
            self.assertIn("is not the admin surface of a node", outcome.error)
            os.unlink(os.path.join(self.data_dir, "admin.sock"))

    def converse(self, answer: bytes | None) -> Outcome:
        """Ask a server that answers with these bytes; None: with nothing, until the client gives up."""
        self.patch(admin_client, "TIMEOUT", 0.2 if answer is None else 60.0)
        with socket.create_server(("127.0.0.1", 0)) as server:

            def serve() -> None:
                connection, _ = server.accept()
                with connection:
                    connection.recv(10_000)
                    if answer is None:
                        connection.recv(10_000)
                    else:
                        connection.sendall(answer)

            thread = threading.Thread(target=serve)
            thread.start()
            outcome = run("status", "--admin-address", f"127.0.0.1:{server.getsockname()[1]}")
            thread.join()
        return outcome

    def test_another_protocol(self) -> None:
        """A server that speaks no HTTP is no admin surface; one that hangs up is that, or has ended."""
        for answer, said in (
            (b"SSH-2.0-OpenSSH\r\n", "is not the admin surface of a node"),
            (b"", "was closed before an answer came"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "is not the admin surface of a node"),
        ):
            outcome = self.converse(answer)
            self.assertEqual((outcome.code, outcome.error.count("\n")), (3, 1), answer)
            self.assertIn(said, outcome.error)

    def test_silent(self) -> None:
        """A silent server is given up."""
        outcome = self.converse(None)
        self.assertEqual(outcome.code, 3)
        self.assertIn("did not answer within", outcome.error)
