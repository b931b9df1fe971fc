"""The probe application of gateway-conformance for any ASGI server, as probe.md describes it.

In this folder, with one process:

    uvicorn --port 8000 asgi:app
    hypercorn --bind 127.0.0.1:8000 asgi:app
    granian --interface asgi --port 8000 asgi:app

It needs asyncio. ASGI has no trailers of requests and no upgrades but WebSocket: those features
are left out. The raw target, the client's address and trailers are there where the server gives
them.
"""

import asyncio
import contextvars
import json
from collections import OrderedDict

FEATURES = """echo reflect read late-read first-read unread early known stream empty-chunk gated
hold slow open state status cookies date bad-field hop short long fail panic fail-late panic-late
flood job task local live inner stopped raw-fields disconnect""".split()

IDS = 10_000
GATE_SECONDS = 30
SECRET = "secret-of-the-application"
TRAILERS = "http.response.trailers"

entries = OrderedDict()
tasks = set()
live = 0
local_number = contextvars.ContextVar("local_number")


class Entry:
    """What is remembered under one id, and its gate."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.state = {
            "calls": 0, "state": "none", "body": "none", "read": 0, "produced": 0,
            "send": "none", "task": "none", "disconnected": False,
        }

    @staticmethod
    def of(id):
        if not id:
            entry = Entry()
            entry.gate.set()
            return entry
        if id not in entries:
            entries[id] = Entry()
            if len(entries) > IDS:
                entries.popitem(last=False)
        return entries[id]

    async def wait(self):
        try:
            await asyncio.wait_for(self.gate.wait(), GATE_SECONDS)
        except asyncio.TimeoutError:
            pass


class Call:
    """One request: what came, what is remembered of it, and how it is answered."""

    def __init__(self, scope, receive, send):
        self.scope, self.receive, self.send = scope, receive, send
        self.path = scope["path"]
        pairs = (pair.partition("=") for pair in scope["query_string"].decode("latin-1").split("&"))
        self.query = {name: value for name, _, value in reversed(list(pairs))}
        self.entry = Entry.of(self.query.get("id"))
        self.state = self.entry.state

    def number(self, name):
        return int(self.query.get(name) or 0)

    async def start(self, status=200, fields=(), kind="text/plain", **more):
        lines = [("content-type", kind), *fields]
        headers = [(name.encode(), value.encode()) for name, value in lines]
        await self.send(
            {"type": "http.response.start", "status": status, "headers": headers, **more})

    async def answer(self, body, status=200, fields=(), kind="text/plain", length=True):
        """Answers with bytes or a text."""
        if isinstance(body, str):
            body = body.encode()
        if length:
            fields = [*fields, ("content-length", str(len(body)))]
        await self.start(status, fields, kind)
        await self.send({"type": "http.response.body", "body": body})

    async def answer_with(self, pieces, fields=()):
        """Answers with an asynchronous iterator, whose length nobody knows."""
        try:
            await self.start(fields=fields)
            async for piece in pieces:
                await self.send({"type": "http.response.body", "body": piece, "more_body": True})
            await self.send({"type": "http.response.body"})
        except BaseException as error:
            cancelled = isinstance(error, asyncio.CancelledError)
            self.state["send"] = "cancelled" if cancelled else "error"
            raise
        self.state["send"] = "ok"

    async def pieces(self, pause=None):
        """The request's body, piece by piece."""
        self.state["body"] = "reading"
        more = True
        try:
            while more:
                message = await self.receive()
                if message["type"] == "http.disconnect":
                    raise ConnectionError("the client has left before the end of the request")
                piece, more = message.get("body", b""), message.get("more_body", False)
                self.state["read"] += len(piece)
                yield piece
                if pause and piece:
                    await pause()
                    pause = None
        except Exception:
            self.state["body"] = "error"
            raise
        self.state["body"] = "end"


async def app(scope, receive, send):
    """The application: `/stopped` and `/inner` are its middleware's."""
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["type"] == "websocket":
        return await send({"type": "websocket.close"})
    path = scope["path"]
    if path == "/stopped":
        return await Call(scope, receive, send).answer("stopped\n", 403)
    if path.startswith("/inner/"):
        inner = {"path": path.removeprefix("/inner")}
        if scope.get("raw_path"):
            inner["raw_path"] = scope["raw_path"].replace(b"/inner/", b"/", 1)
        return await identity(probe)({**scope, **inner}, receive, send)
    return await probe(scope, receive, send)


async def lifespan(receive, send):
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})


def identity(app):
    """A middleware that does nothing."""

    async def middleware(scope, receive, send):
        await app(scope, receive, send)

    return middleware


async def probe(scope, receive, send):
    global live
    call = Call(scope, receive, send)
    remembered = call.path not in ("/state", "/open")
    if remembered:
        call.state["calls"] += 1
        call.state["state"] = "running"
    ended = "finished"
    live += 1
    try:
        await PATHS.get(call.path, missing)(call)
    except asyncio.CancelledError:
        ended = "cancelled"
        raise
    finally:
        live -= 1
        if remembered:
            call.state["state"] = ended


async def missing(call):
    await call.answer("no such path\n", 404)


async def features(call):
    named = list(FEATURES)
    if call.scope.get("raw_path") is not None:
        named.append("raw-target")
    if call.scope.get("client"):
        named.append("peer")
    if sends_trailers(call):
        named.append("send-trailers")
    await call.answer(f"gateway-conformance probe 1\nfeatures: {' '.join(named)}\n")


def sends_trailers(call):
    return TRAILERS in (call.scope.get("extensions") or {})


async def reflect(call):
    scope = call.scope
    path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    query = scope["query_string"].decode("latin-1") or None
    body = 0
    async for piece in call.pieces():
        body += len(piece)
    shown = {
        "method": scope["method"],
        "target": path if query is None else f"{path}?{query}",
        "path": path,
        "query": query,
        "version": scope["http_version"],
        "scheme": scope.get("scheme"),
        "peer": ":".join(map(str, scope.get("client") or ())) or None,
        "fields": [[name.decode("latin-1").lower(), value.decode("latin-1")]
                   for name, value in scope["headers"]],
        "trailers": [],
        "body": body,
    }
    await call.answer(json.dumps(shown), kind="application/json")


async def echo(call):
    await call.answer(b"".join([piece async for piece in call.pieces()]))


async def read(call, pause=None):
    async for _ in call.pieces(pause):
        pass
    await call.answer("read\n")


async def late_read(call):
    await call.entry.wait()
    await read(call)


async def first_read(call):
    await read(call, call.entry.wait)


async def each(*pieces):
    for piece in pieces:
        yield piece


async def stream(call):
    piece = b"x" * call.number("bytes")
    await call.answer_with(each(*[piece] * call.number("chunks")))


async def gated(call):
    async def pieces():
        yield b"first\n"
        await call.entry.wait()
        yield b"second\n"

    await call.answer_with(pieces())


async def hold(call):
    async def watch():
        while (await call.receive())["type"] != "http.disconnect":
            pass
        call.state["disconnected"] = True

    watching = asyncio.ensure_future(watch())
    try:
        await call.entry.wait()
    finally:
        watching.cancel()
    await call.answer("held\n")


async def slow(call):
    await asyncio.sleep(call.number("ms") / 1000)
    await call.answer("slow\n")


async def open_gate(call):
    call.entry.gate.set()
    await call.answer("open\n")


async def status(call):
    code = call.number("code")
    # A length would itself be wrong in these, so that the server is not led into naming one.
    bodyless = code < 200 or code in (204, 304)
    await call.answer("body\n", code, length=not bodyless)


async def bad_field(call):
    between = {"crlf": "\r\n", "cr": "\r", "lf": "\n"}.get(call.query.get("kind"), "\0")
    await call.answer("bad\n", fields=[("x-bad", f"a{between}x-injected: yes")])


async def hop(call):
    fields = [("connection", "x-hop"), ("x-hop", "1"), ("keep-alive", "timeout=9"),
              ("transfer-encoding", "gzip"), ("upgrade", "nothing")]
    await call.answer("hop\n", fields=fields)


async def fail(call):
    raise RuntimeError(SECRET)


async def fail_late(call):
    async def pieces():
        yield b"first\n"
        raise RuntimeError(SECRET)

    announced = [("content-length", "100")] if call.query.get("framing") == "length" else []
    await call.answer_with(pieces(), announced)


async def send_trailers(call):
    if not sends_trailers(call):
        return await missing(call)
    await call.start(fields=[("trailer", "x-trailer")], trailers=True)
    await call.send({"type": "http.response.body", "body": b"data\n"})
    await call.send({"type": TRAILERS, "headers": [(b"x-trailer", b"yes")]})


async def flood(call):
    async def pieces():
        for _ in range(4096):
            call.state["produced"] += 65536
            yield b"x" * 65536

    await call.answer_with(pieces())


async def job(call):
    loop = asyncio.get_running_loop()

    def block():
        # The gate belongs to the loop, so the thread asks the loop and blocks until it answers.
        asyncio.run_coroutine_threadsafe(call.entry.wait(), loop).result()

    await asyncio.to_thread(block)
    await call.answer("done\n")


async def task(call):
    async def outlive():
        try:
            await call.entry.wait()
            call.state["task"] = "finished"
        except asyncio.CancelledError:
            call.state["task"] = "cancelled"
            raise

    call.state["task"] = "running"
    started = asyncio.ensure_future(outlive())
    tasks.add(started)
    started.add_done_callback(tasks.discard)
    await call.answer("started\n")


async def local(call):
    local_number.set(call.query.get("n", ""))
    for _ in range(5):
        await asyncio.sleep(0.001)
    await call.answer(local_number.get())


PATHS = {
    "/": lambda call: call.answer("ok\n"),
    "/probe": features,
    "/echo": echo,
    "/reflect": reflect,
    "/read": read,
    "/late-read": late_read,
    "/first-read": first_read,
    "/unread": lambda call: call.answer("unread\n"),
    "/early": lambda call: call.answer("early\n", 413),
    "/known": lambda call: call.answer("x" * call.number("bytes")),
    "/stream": stream,
    "/empty-chunk": lambda call: call.answer_with(each(b"a", b"", b"b")),
    "/gated": gated,
    "/hold": hold,
    "/slow": slow,
    "/open": open_gate,
    "/state": lambda call: call.answer(json.dumps(call.state), kind="application/json"),
    "/status": status,
    "/cookies": lambda call: call.answer(
        "cookies\n", fields=[("set-cookie", "a=1"), ("set-cookie", "b=2")]),
    "/date": lambda call: call.answer(
        "date\n", fields=[("date", "Sun, 06 Nov 1994 08:49:37 GMT")]),
    "/bad-field": bad_field,
    "/hop": hop,
    "/short": lambda call: call.answer_with(each(b"x" * 50), [("content-length", "100")]),
    "/long": lambda call: call.answer_with(
        each(b"x" * 10, b"y" * 10), [("content-length", "10")]),
    "/fail": fail,
    "/panic": fail,
    "/fail-late": fail_late,
    "/panic-late": fail_late,
    "/send-trailers": send_trailers,
    "/flood": flood,
    "/job": job,
    "/task": task,
    "/local": local,
    "/live": lambda call: call.answer(str(live - 1)),
}
