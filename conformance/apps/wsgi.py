"""The probe application of gateway-conformance for any WSGI server, as probe.md describes it.

In this folder, with one process and threads enough for those who wait at gates:

    gunicorn --worker-class gthread --threads 128 --bind 127.0.0.1:8000 wsgi:app
    waitress-serve --listen 127.0.0.1:8000 --threads 16 wsgi:app
    granian --interface wsgi --blocking-threads 16 --port 8000 wsgi:app

WSGI has no raw fields, trailers, upgrades or news of a client that has left, and a handler that
may block has no need of jobs: those features are left out. The raw target and the client's address
are there where the server gives them.
"""

import json
import threading
import time
from collections import OrderedDict
from http.client import responses

FEATURES = """echo reflect read late-read first-read unread early known stream empty-chunk gated
hold slow open state status cookies date bad-field hop short long fail panic fail-late panic-late
flood task local live inner stopped""".split()

IDS = 10_000
GATE_SECONDS = 30
SECRET = "secret-of-the-application"


class Memory:
    """What is remembered of all requests. Whoever changes it holds `changed`."""

    def __init__(self):
        self.changed = threading.Condition()
        self.entries = OrderedDict()
        self.live = 0

    def of(self, id):
        with self.changed:
            if not id:
                return Entry(open=True)
            if id not in self.entries:
                self.entries[id] = Entry()
                if len(self.entries) > IDS:
                    self.entries.popitem(last=False)
            return self.entries[id]


class Entry:
    """What is remembered under one id, and its gate."""

    def __init__(self, open=False):
        self.gate = threading.Event()
        if open:
            self.gate.set()
        self.state = {
            "calls": 0, "state": "none", "body": "none", "read": 0, "produced": 0,
            "send": "none", "task": "none", "disconnected": False,
        }

    def wait(self):
        self.gate.wait(GATE_SECONDS)


class Call:
    """One request: what came, what is remembered of it, and how it is answered."""

    def __init__(self, environ, start_response):
        self.environ, self.start_response = environ, start_response
        self.path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        pairs = (pair.partition("=") for pair in environ.get("QUERY_STRING", "").split("&"))
        self.query = {name: value for name, _, value in reversed(list(pairs))}
        self.entry = memory.of(self.query.get("id"))
        self.state = self.entry.state

    def number(self, name):
        return int(self.query.get(name) or 0)

    def answer(self, body, status=200, fields=(), kind="text/plain", length=True):
        """Answers with bytes or a text; or with an iterator, whose length nobody knows."""
        fields = [("Content-Type", kind), *fields]
        if isinstance(body, str):
            body = body.encode()
        if isinstance(body, bytes):
            if length:
                fields.append(("Content-Length", str(len(body))))
            body = [body]
        self.start_response(f"{status} {responses.get(status, 'Unknown')}", fields)
        return body

    def pieces(self, pause=None):
        """The request's body: its first byte, then the rest as it comes."""
        stream, expected = self.environ["wsgi.input"], self.environ.get("CONTENT_LENGTH")
        left = int(expected) if expected else None
        chunked = "HTTP_TRANSFER_ENCODING" in self.environ
        if left is None and not chunked and not self.environ.get("wsgi.input_terminated"):
            left = 0
        size = 1
        self.state["body"] = "reading"
        try:
            while left != 0:
                piece = stream.read(size if left is None else min(size, left))
                if not piece and left:
                    # This is how WSGI says that the client has left: the length is not reached.
                    raise OSError(f"the request's body ends {left} bytes early")
                if not piece:
                    break
                left = left and left - len(piece)
                self.state["read"] += len(piece)
                yield piece
                if pause and size == 1:
                    pause()
                size = 4096
        except Exception:
            self.state["body"] = "error"
            raise
        self.state["body"] = "end"


class Body:
    """A response's body that is made piece by piece. It lives until the server closes it."""

    def __init__(self, call, pieces):
        self.call, self.pieces = call, iter(pieces)
        self.alive = True
        with memory.changed:
            memory.live += 1

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return next(self.pieces)
        except StopIteration:
            self.call.state["send"] = "ok"
            raise

    def close(self):
        with memory.changed:
            memory.live -= self.alive
            if self.alive and self.call.state["send"] == "none":
                self.call.state["send"] = "cancelled"
            self.alive = False


memory = Memory()


def app(environ, start_response):
    """The application: `/stopped` and `/inner` are its middleware's."""
    path = environ.get("PATH_INFO", "")
    if path == "/stopped":
        return Call(environ, start_response).answer("stopped\n", 403)
    if path.startswith("/inner/"):
        inner = {"PATH_INFO": path.removeprefix("/inner")}
        for name in ("RAW_URI", "REQUEST_URI"):
            if name in environ:
                inner[name] = environ[name].replace("/inner/", "/", 1)
        return identity(probe)({**environ, **inner}, start_response)
    return probe(environ, start_response)


def identity(app):
    """A middleware that does nothing."""
    return lambda environ, start_response: app(environ, start_response)


def probe(environ, start_response):
    call = Call(environ, start_response)
    remembered = call.path not in ("/state", "/open")
    with memory.changed:
        memory.live += 1
        if remembered:
            call.state["calls"] += 1
            call.state["state"] = "running"
    try:
        return PATHS.get(call.path, missing)(call)
    finally:
        with memory.changed:
            memory.live -= 1
            if remembered:
                call.state["state"] = "finished"


def missing(call):
    return call.answer("no such path\n", 404)


def features(call):
    named = list(FEATURES)
    if target(call) is not None:
        named.append("raw-target")
    if "REMOTE_ADDR" in call.environ:
        named.append("peer")
    return call.answer(f"gateway-conformance probe 1\nfeatures: {' '.join(named)}\n")


def target(call):
    return call.environ.get("RAW_URI", call.environ.get("REQUEST_URI"))


def reflect(call):
    environ = call.environ
    query = environ.get("QUERY_STRING") or None
    path = call.path
    names = {
        name: name.removeprefix("HTTP_").replace("_", "-").lower()
        for name in environ
        if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH") and environ[name]
    }
    peer = [environ[name] for name in ("REMOTE_ADDR", "REMOTE_PORT") if environ.get(name)]
    shown = {
        "method": environ["REQUEST_METHOD"],
        "target": target(call) or (path if query is None else f"{path}?{query}"),
        "path": path,
        "query": query,
        "version": environ["SERVER_PROTOCOL"].removeprefix("HTTP/"),
        "scheme": environ["wsgi.url_scheme"],
        "peer": ":".join(map(str, peer)) or None,
        "fields": [[names[name], environ[name]] for name in names],
        "trailers": [],
        "body": sum(map(len, call.pieces())),
    }
    return call.answer(json.dumps(shown), kind="application/json")


def read(call, pause=None):
    for _ in call.pieces(pause):
        pass
    return call.answer("read\n")


def late_read(call):
    call.entry.wait()
    return read(call)


def first_read(call):
    return read(call, call.entry.wait)


def stream(call):
    piece = b"x" * call.number("bytes")
    return call.answer(Body(call, (piece for _ in range(call.number("chunks")))))


def gated(call):
    def pieces():
        yield b"first\n"
        call.entry.wait()
        yield b"second\n"

    return call.answer(Body(call, pieces()))


def hold(call):
    call.entry.wait()
    return call.answer("held\n")


def slow(call):
    time.sleep(call.number("ms") / 1000)
    return call.answer("slow\n")


def open_gate(call):
    call.entry.gate.set()
    return call.answer("open\n")


def status(call):
    code = call.number("code")
    # A length would itself be wrong in these, so that the server is not led into naming one.
    bodyless = code < 200 or code in (204, 304)
    return call.answer("body\n", code, length=not bodyless)


def bad_field(call):
    between = {"crlf": "\r\n", "cr": "\r", "lf": "\n"}.get(call.query.get("kind"), "\0")
    return call.answer("bad\n", fields=[("x-bad", f"a{between}x-injected: yes")])


def hop(call):
    fields = [("connection", "x-hop"), ("x-hop", "1"), ("keep-alive", "timeout=9"),
              ("transfer-encoding", "gzip"), ("upgrade", "nothing")]
    return call.answer("hop\n", fields=fields)


def short(call):
    return call.answer(Body(call, [b"x" * 50]), fields=[("Content-Length", "100")])


def long(call):
    return call.answer(Body(call, [b"x" * 10, b"y" * 10]), fields=[("Content-Length", "10")])


def fail(call):
    raise RuntimeError(SECRET)


def fail_late(call):
    def pieces():
        yield b"first\n"
        raise RuntimeError(SECRET)

    announced = [("Content-Length", "100")] if call.query.get("framing") == "length" else []
    return call.answer(Body(call, pieces()), fields=announced)


def flood(call):
    def pieces():
        for _ in range(4096):
            call.state["produced"] += 65536
            yield b"x" * 65536

    return call.answer(Body(call, pieces()))


def task(call):
    def outlive():
        call.entry.wait()
        call.state["task"] = "finished"

    call.state["task"] = "running"
    threading.Thread(target=outlive, daemon=True).start()
    return call.answer("started\n")


def local(call):
    call.environ["probe.local"] = call.query.get("n", "")
    for _ in range(5):
        time.sleep(0.001)
    return call.answer(call.environ["probe.local"])


PATHS = {
    "/": lambda call: call.answer("ok\n"),
    "/probe": features,
    "/echo": lambda call: call.answer(b"".join(call.pieces())),
    "/reflect": reflect,
    "/read": read,
    "/late-read": late_read,
    "/first-read": first_read,
    "/unread": lambda call: call.answer("unread\n"),
    "/early": lambda call: call.answer("early\n", 413),
    "/known": lambda call: call.answer("x" * call.number("bytes")),
    "/stream": stream,
    "/empty-chunk": lambda call: call.answer(Body(call, [b"a", b"", b"b"])),
    "/gated": gated,
    "/hold": hold,
    "/slow": slow,
    "/open": open_gate,
    "/state": lambda call: call.answer(json.dumps(call.state), kind="application/json"),
    "/status": status,
    "/cookies": lambda call: call.answer(
        "cookies\n", fields=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]),
    "/date": lambda call: call.answer(
        "date\n", fields=[("Date", "Sun, 06 Nov 1994 08:49:37 GMT")]),
    "/bad-field": bad_field,
    "/hop": hop,
    "/short": short,
    "/long": long,
    "/fail": fail,
    "/panic": fail,
    "/fail-late": fail_late,
    "/panic-late": fail_late,
    "/flood": flood,
    "/task": task,
    "/local": local,
    "/live": lambda call: call.answer(str(memory.live - 1)),
}
