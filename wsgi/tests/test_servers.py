"""Features and servers: each feature is tried on every server, from one list."""

import hashlib
import http.client
import os
import socket
import sys
import unittest

from support import LIMIT, Gate, Server, program, reset

SIMPLE = """
import sys, wsgiref.simple_server, wsgiref.validate, portable
application = {application}
wsgiref.simple_server.make_server("127.0.0.1", {{port}}, application).serve_forever()
"""


def simple(application):
    # A complaint of the validator's that is only a warning is an error as well.
    return [sys.executable, "-W", "error::wsgiref.validate.WSGIWarning", "-c",
            SIMPLE.format(application=application)]


GUNICORN = [program("gunicorn"), "--bind", "127.0.0.1:{port}", "--preload"]


class Features:
    """What is tried. A class of its own for each server, below, says what is different there."""

    # What is answered to a body in chunks.
    chunked_upload = 200
    # Whether a body is read when the app asks for it.
    body_is_read_late = True
    # Whether the client can tell that a body is cut off whose length was not announced.
    cut_is_seen = True
    # Whether Ctrl-C ends the server, while a request waits.
    is_interrupted = True

    @classmethod
    def setUpClass(cls):
        cls.server = Server(cls.words)
        cls.addClassCleanup(cls.server.close)

    def run(self, result):
        faults = len(result.failures + result.errors)
        super().run(result)
        if len(result.failures + result.errors) > faults:
            sys.stderr.write(self.server.said())

    def open(self, method, path, body=None, headers={}, port=None):
        port = port or self.server.port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
        self.addCleanup(connection.close)
        connection.request(method, path, body, headers)
        return connection.getresponse()

    def ask(self, method, path, body=None, headers={}, port=None):
        response = self.open(method, path, body, headers, port)
        return response.status, response.read()

    def test_plain_get(self):
        self.assertEqual(self.ask("GET", "/hello"), (200, b"Hello, World!"))

    def test_timer(self):
        self.assertEqual(self.ask("GET", "/sleep?ms=10"), (200, b"slept 10 ms\n"))

    def test_join_waits_for_both_at_once(self):
        with Gate() as gate:
            connection = self.send(f"/test/join?{gate.address}")
            one, other = gate.accept(), gate.accept()
            other.step()
            one.step()
            self.assertTrue(self.rest(connection).endswith(b"joined\n"))

    def test_job_blocks_a_thread_of_its_own(self):
        with Gate() as gate:
            connection = self.send(f"/test/job?{gate.address}")
            gate.accept().step()
            self.assertTrue(self.rest(connection).endswith(b"done\n"))

    def test_stream_arrives_as_it_is_made(self):
        with Gate() as gate:
            response = self.open("GET", f"/test/stream?{gate.address}")
            self.assertEqual(response.readline(), b"begun\n")
            handler = gate.accept()
            # Each piece is made after the last one has arrived.
            for _ in range(3):
                handler.step()
                self.assertEqual(response.readline(), b"a step\n")
            handler.finish()
            self.assertEqual(response.read(), b"")

    def test_a_megabyte_comes_back(self):
        body = os.urandom(1024 * 1024)
        headers = {"content-type": "application/octet-stream"}
        self.assertEqual(self.ask("POST", "/echo", body, headers), (200, body))

    def test_body_is_read_as_it_arrives(self):
        if not self.body_is_read_late:
            self.skipTest("it takes a body whole before it calls the app")
        half = 16 * 1024
        with Gate() as gate:
            headers = f"content-length: {2 * half}\r\n"
            connection = self.send(f"/test/read?{gate.address}", "POST", headers)
            connection.sendall(b"1" * half)
            handler = gate.accept()
            connection.sendall(b"2" * half)
            handler.step()
            self.assertTrue(self.rest(connection).endswith(b"true\n"))

    def test_upload_in_chunks(self):
        # Whoever refuses them reads none, so there must be room for them.
        size = 1000 if self.chunked_upload == 200 else 1
        pieces = [bytes([n]) * n * size for n in range(1, 20)]
        chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
        headers = {"transfer-encoding": "chunked"}
        status, text = self.ask("POST", "/upload", b"".join(chunks) + b"0\r\n\r\n", headers)
        self.assertEqual(status, self.chunked_upload)
        if status == 200:
            self.assertIn(hashlib.sha256(b"".join(pieces)).hexdigest().encode(), text)

    def test_errors_and_panics_are_responses(self):
        self.assertEqual(self.ask("GET", "/nowhere")[0], 404)
        self.assertEqual(self.ask("GET", "/panic")[0], 500)
        self.assertEqual(self.ask("GET", "/hello")[0], 200, "and touch no other request")

    def test_a_body_that_fails_is_cut_off(self):
        for path in ["/test/cut", "/test/panic-midway"]:
            if self.cut_is_seen:
                with self.assertRaises(http.client.IncompleteRead):
                    self.ask("GET", path)
            else:
                self.assertEqual(self.ask("GET", path), (200, b"begun\n"))
        with self.assertRaises(http.client.IncompleteRead):
            self.ask("GET", "/test/short")

    def test_a_client_that_has_gone_cancels_the_coroutine(self):
        with Gate() as gate:
            connection = self.send(f"/test/stream?{gate.address}")
            handler = gate.accept()
            while b"begun\n" not in connection.recv(4096):
                pass
            reset(connection)
            self.assertTrue(handler.step_until_dropped())

    def test_head_has_the_length_and_no_body(self):
        response = self.open("HEAD", "/hello")
        self.assertEqual((response.status, response.getheader("content-length")), (200, "13"))
        received = self.rest(self.send("/hello", "HEAD"))
        self.assertTrue(received.endswith(b"\r\n\r\n"), received)

    def test_path_is_unicode_and_keeps_its_escapes(self):
        status, text = self.ask("GET", "/w%C3%A4rme%20%25?q=%C3%A4&r")
        self.assertEqual(status, 404)
        self.assertIn(b"/w%C3%A4rme%20%25\n", text)
        status, text = self.ask("GET", "/test/request?q=%C3%A4&r", headers={"x-name": "\xe4"})
        self.assertIn(b"/test/request?q=%C3%A4&r", text)
        self.assertIn(rb'"x-name": "\xe4"', text)
        self.assertIn(b"http://127.0.0.1:%d/test/request" % self.server.port, text)
        self.assertIn(b"Some(127.0.0.1)", text)

    def test_fields_of_the_connection_are_the_servers(self):
        response = self.open("GET", "/test/hop-by-hop")
        self.assertEqual(response.read(), b"stripped\n")
        self.assertIsNone(response.getheader("x-hop"))
        self.assertEqual(response.getheader("x-end"), "é".encode().decode("latin-1"))

    def test_ctrl_c_ends_what_waits(self):
        for path in ["wait", "stream"]:
            server = Server(self.words)
            self.addCleanup(server.close)
            with Gate() as gate, socket.create_connection(("127.0.0.1", server.port)) as client:
                target = f"/test/{path}?{gate.address}"
                client.sendall(f"GET {target} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
                handler = gate.accept()
                server.interrupt()
                self.assertTrue(handler.is_dropped())
            if self.is_interrupted:
                server.process.wait(LIMIT)
            else:
                self.assertEqual(self.ask("GET", "/hello", port=server.port)[0], 200)

    def send(self, path, method="GET", headers=""):
        connection = socket.create_connection(("127.0.0.1", self.server.port), LIMIT)
        self.addCleanup(connection.close)
        head = f"{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n"
        connection.sendall(head.encode())
        return connection

    def rest(self, connection):
        return b"".join(iter(lambda: connection.recv(65536), b""))


class Wsgiref(Features, unittest.TestCase):
    words = simple("portable.application")
    # It decodes no chunks, and its responses are of HTTP/1.0: their end is a close, cut off or not.
    chunked_upload = 411
    cut_is_seen = False
    # It catches the KeyboardInterrupt of a request, logs it, and goes on.
    is_interrupted = False


class WsgirefValidated(Wsgiref):
    """What is said is said by the rules: the validator answers all else with 500."""

    words = simple("wsgiref.validate.validator(portable.application)")


class GunicornSync(Features, unittest.TestCase):
    words = [*GUNICORN, "warm"]


class GunicornThreads(Features, unittest.TestCase):
    # Ctrl-C lets requests go on for a grace time, of 30 s by default.
    words = [*GUNICORN, "--worker-class", "gthread", "--threads", "4", "--graceful-timeout", "1",
             "warm"]


class Waitress(Features, unittest.TestCase):
    words = [program("waitress-serve"), "--listen", "127.0.0.1:{port}", "portable:application"]
    body_is_read_late = False


class Uwsgi(Features, unittest.TestCase):
    words = [program("uwsgi"), "--http-socket", "127.0.0.1:{port}", "--master", "--need-app",
             "--module", "warm"]
    # By itself it decodes no chunks, and ends a response by closing.
    chunked_upload = 411
    cut_is_seen = False


if __name__ == "__main__":
    unittest.main()
