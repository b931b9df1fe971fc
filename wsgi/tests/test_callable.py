"""The callable by itself, called as PEP 3333 allows a server to."""

import contextlib
import gc
import io
import os
import signal
import threading
import unittest
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import portable
from support import LIMIT, Gate


def environ(path, method="GET", body=b"", query="", **more):
    given = {"REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path,
             "QUERY_STRING": query, "wsgi.input": io.BytesIO(body),
             "CONTENT_LENGTH": str(len(body)), **more}
    setup_testing_defaults(given)
    return given


class Started:
    """A `start_response`, and what it was called with."""

    def __call__(self, status, fields):
        assert not hasattr(self, "status"), "start_response is called once"
        self.status, self.fields = status, fields
        return lambda data: None


def call(environ):
    started = Started()
    body = validator(portable.application)(environ, started)
    try:
        return started.status, b"".join(body)
    finally:
        body.close()


class Requests(unittest.TestCase):
    def test_script_name_is_told_and_no_part_of_the_path(self):
        text = call(environ("/test/request", SCRIPT_NAME="/mounted"))[1]
        self.assertIn(b"http://127.0.0.1/test/request,", text)
        self.assertIn(b'Some(ScriptName("/mounted"))', text)

    def test_path_without_anything_is_the_root(self):
        self.assertEqual(call(environ("", SCRIPT_NAME=""))[0], "200 OK")

    def test_scheme_and_address_are_told(self):
        given = {"wsgi.url_scheme": "https", "REMOTE_ADDR": "::1"}
        text = call(environ("/test/request", HTTP_HOST="example.org", **given))[1]
        self.assertIn(b"https://example.org/test/request,", text)
        self.assertIn(b"Some(::1)", text)
        text = call(environ("/test/request", REMOTE_ADDR=""))[1]
        self.assertIn(b"\nNone\n", text, "a Unix socket has none")

    def test_fields_of_the_connection_are_left_out(self):
        given = {"HTTP_CONNECTION": "upgrade, x-hop", "HTTP_UPGRADE": "websocket",
                 "HTTP_X_HOP": "1", "HTTP_PROXY": "http://a"}
        text = call(environ("/test/request", **given))[1]
        self.assertIn(b'"x-hop": "1"', text, "a client does not choose what the app sees")
        for name in [b"connection", b"upgrade", b"proxy"]:
            self.assertNotIn(name, text)

    def test_malformed_request_is_the_clients_fault(self):
        for given in [{"REQUEST_METHOD": "GE T"}, {"PATH_INFO": "no slash"},
                      {"PATH_INFO": "/\u20ac"}, {"QUERY_STRING": "a b"},
                      {"CONTENT_LENGTH": "+1"}, {"HTTP_BAD\n": "1"}]:
            started = Started()
            body = portable.application({**environ("/hello"), **given}, started)
            self.assertEqual(started.status, "400 Bad Request", given)
            self.assertIn(("content-length", str(len(b"".join(body)))), started.fields)

    def test_more_fields_than_there_is_room_for_are_refused(self):
        fields = {f"HTTP_X{n}": "1" for n in range(40_000)}
        self.assertEqual(call(environ("/hello", **fields))[0][:3], "431")

    def test_environ_that_is_none_is_the_servers_fault(self):
        for key in ["REQUEST_METHOD", "wsgi.url_scheme", "wsgi.input"]:
            given = environ("/hello")
            del given[key]
            with self.assertRaisesRegex(KeyError, key):
                portable.application(given, Started())
        with self.assertRaises(TypeError):
            portable.application([], Started())


class Bodies(unittest.TestCase):
    def test_input_is_read_when_the_app_asks_and_not_beyond_its_length(self):
        for path, read in [("/hello", 0), ("/upload", 50_000)]:
            stream = io.BytesIO(b"x" * 60_000)
            given = {"wsgi.input": stream, "CONTENT_LENGTH": "50000"}
            self.assertEqual(call(environ(path, "POST", **given))[0], "200 OK")
            self.assertEqual(stream.tell(), read)

    def test_input_that_ends_by_itself_is_read_to_its_end(self):
        given = environ("/upload", "POST", b"x" * 50_000, **{"wsgi.input_terminated": True})
        del given["CONTENT_LENGTH"]
        self.assertIn(b'"bytes":50000', call(given)[1])

    def test_input_without_a_length_or_an_end_is_empty(self):
        given = environ("/upload", "POST", b"x" * 50_000)
        del given["CONTENT_LENGTH"]
        self.assertIn(b'"bytes":0', call(given)[1])
        given["HTTP_TRANSFER_ENCODING"] = "chunked"
        self.assertEqual(call(given)[0], "411 Length Required")
        given["CONTENT_LENGTH"] = "50000"
        self.assertEqual(call(given)[0], "411 Length Required", "whatever its length may mean")

    def test_input_that_is_too_short_is_the_clients_fault(self):
        status, text = call(environ("/upload", "POST", b"x" * 10, CONTENT_LENGTH="11"))
        self.assertEqual(status, "400 Bad Request")
        self.assertIn(b"1 bytes before the length announced", text)

    def test_body_beyond_the_limit_is_refused(self):
        limit = 2 * 1024 * 1024
        for path, size, status in [("/test/collect", limit, "200"),
                                   ("/test/collect", limit + 1, "413"),
                                   ("/upload", limit + 1, "200")]:
            given = environ(path, "POST", b"x" * size)
            self.assertEqual(call(given)[0][:3], status, "an upload sets a limit of its own")
            given = environ(path, "POST", b"x" * size, **{"wsgi.input_terminated": True})
            del given["CONTENT_LENGTH"]
            self.assertEqual(call(given)[0][:3], status)

    def test_exceptions_of_the_input_are_the_clients_fault(self):
        class Broken(io.BytesIO):
            def read(self, size):
                raise OSError("the client has left")

        given = environ("/upload", "POST", CONTENT_LENGTH="1", **{"wsgi.input": Broken()})
        status, text = call(given)
        self.assertEqual(status, "400 Bad Request")
        self.assertIn(b"OSError: the client has left", text)

    def test_input_that_ends_the_process_ends_it(self):
        class Ending(io.BytesIO):
            def read(self, size):
                raise SystemExit(3)

        given = environ("/upload", "POST", CONTENT_LENGTH="1", **{"wsgi.input": Ending()})
        with self.assertRaises(SystemExit):
            portable.application(given, Started())


class Responses(unittest.TestCase):
    def test_response_that_fails_raises(self):
        for path, what in [("cut", "the failure that"), ("panic-midway", "the panic that"),
                           ("short", "another length than its head announces")]:
            body = portable.application(environ("/test/" + path), Started())
            self.assertEqual(next(body), b"begun\n")
            with self.assertRaisesRegex(RuntimeError, "cut off: .*" + what):
                next(body)
            self.assertEqual(list(body), [], "there is nothing behind it")

    def test_response_never_goes_beyond_its_length(self):
        body = portable.application(environ("/test/long"), Started())
        with self.assertRaisesRegex(RuntimeError, "cut off: .*another length than its head announces"):
            next(body)
        self.assertEqual(list(body), [])

    def test_server_that_refuses_the_head_is_told_so(self):
        def refuses(status, fields):
            raise ValueError("no such status")

        with Gate() as gate:
            given = environ("/test/late", "POST", b"x", query=gate.address)
            with self.assertRaisesRegex(ValueError, "no such status"):
                portable.application(given, refuses)
            handler = gate.accept()
            handler.step()
            self.assertEqual(handler.connection.recv(1), b"0", "and nothing is read from then on")

    def test_upgrade_is_refused(self):
        given = {"HTTP_CONNECTION": "upgrade", "HTTP_UPGRADE": "websocket",
                 "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
                 "HTTP_SEC_WEBSOCKET_VERSION": "13"}
        self.assertRegex(call(environ("/websocket/echo", **given))[0], "^4")


class Closing(unittest.TestCase):
    def begin(self, gate):
        body = portable.application(environ("/test/stream", query=gate.address), Started())
        self.assertEqual(next(body), b"begun\n")
        return body, gate.accept()

    def test_close_cancels_what_does_not_run(self):
        for closes in [lambda body: body.close(), on_another_thread]:
            with Gate() as gate:
                body, handler = self.begin(gate)
                closes(body)
                self.assertTrue(handler.is_dropped())
                self.assertEqual(list(body), [])
                body.close()

    def test_close_cancels_what_waits_on_another_thread(self):
        with Gate() as gate:
            body = portable.application(environ("/test/for-ever", query=gate.address), Started())
            self.assertEqual(next(body), b"begun\n")
            raised = []

            def iterate():
                with self.assertRaisesRegex(RuntimeError, "the client has left"):
                    next(body)
                raised.append(True)

            thread = threading.Thread(target=iterate)
            thread.start()
            handler = gate.accept()
            self.assertEqual(handler.connection.recv(1), b".")
            body.close()
            self.assertTrue(handler.is_dropped())
            thread.join(LIMIT)
            self.assertEqual(raised, [True])

    def test_input_is_not_read_once_the_response_is_closed(self):
        stream = io.BytesIO(b"x" * 10)
        given = environ("/test/late", "POST", CONTENT_LENGTH="10", **{"wsgi.input": stream})
        for closes in [True, False]:
            with Gate() as gate:
                body = portable.application({**given, "QUERY_STRING": gate.address}, Started())
                handler = gate.accept()
                if closes:
                    body.close()
                handler.step()
                self.assertEqual(handler.connection.recv(1), b"0" if closes else b"1")
            self.assertEqual(stream.tell(), 0 if closes else 10)

    def test_body_that_nobody_holds_is_cancelled(self):
        with Gate() as gate:
            body, handler = self.begin(gate)
            del body
            gc.collect()
            self.assertTrue(handler.is_dropped())


def on_another_thread(body):
    thread = threading.Thread(target=body.close)
    thread.start()
    thread.join(LIMIT)


class Signals(unittest.TestCase):
    def test_signal_ends_the_wait_for_a_head(self):
        with Gate() as gate, interrupted_by(gate):
            with self.assertRaises(KeyboardInterrupt):
                portable.application(environ("/test/wait", query=gate.address), Started())

    def test_signal_ends_the_wait_for_a_piece(self):
        with Gate() as gate, interrupted_by(gate):
            with self.assertRaises(KeyboardInterrupt):
                list(portable.application(environ("/test/stream", query=gate.address), Started()))

    def test_handler_of_a_signal_runs_while_a_request_waits(self):
        handled = threading.Event()
        before = signal.signal(signal.SIGUSR1, lambda *_: handled.set())
        self.addCleanup(signal.signal, signal.SIGUSR1, before)

        def signals():
            handler = gate.accept()
            os.kill(os.getpid(), signal.SIGUSR1)
            if handled.wait(LIMIT):
                handler.step()
            else:
                handler.finish()

        with Gate() as gate:
            thread = threading.Thread(target=signals)
            thread.start()
            self.assertEqual(call(environ("/test/wait", query=gate.address))[1], b"waited\n")
            thread.join(LIMIT)


class interrupted_by:
    """Sends a SIGINT to this process as soon as a handler has come, and expects that it goes."""

    def __init__(self, gate):
        self.thread = threading.Thread(target=self.interrupt, args=[gate])

    def interrupt(self, gate):
        handler = gate.accept()
        os.kill(os.getpid(), signal.SIGINT)
        self.dropped = handler.is_dropped()

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.thread.join(LIMIT)
        assert self.dropped


class Forks(unittest.TestCase):
    def test_child_has_a_host_of_its_own(self):
        self.assertEqual(call(environ("/job", query="ms=1"))[0], "200 OK")
        child = os.fork()
        if child == 0:
            try:
                asked = [call(environ(path, query="ms=1"))[0] for path in ["/job", "/sleep"]]
                os._exit(0 if asked == ["200 OK"] * 2 else 1)
            finally:
                os._exit(2)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        status = call(environ("/job", query="ms=1"))[0]
        self.assertEqual(status, "200 OK", "and the parent keeps its own")


if __name__ == "__main__":
    unittest.main()
