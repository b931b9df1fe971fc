// The probe application of gateway-conformance for node's HTTP server, as probe.md describes it.
//
//     node node.mjs 8000
//
// A handler that fails is answered with 500, or cut off once the head is out, as frameworks do it.
// An exception that nobody catches would end the whole process, so there is no `panic`; and node
// has no pool of threads for JavaScript that blocks, so there is no `job`.

import { AsyncLocalStorage } from "node:async_hooks";
import http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const FEATURES = `echo reflect read late-read first-read unread early known stream empty-chunk gated
  hold slow open state status cookies date bad-field hop short long fail fail-late send-trailers
  upgrade flood task local live inner stopped raw-target raw-fields request-trailers peer
  disconnect`.split(/\s+/);

const IDS = 10_000;
const GATE_MS = 30_000;
const SECRET = "secret-of-the-application";

const entries = new Map();
const locals = new AsyncLocalStorage();
let live = 0;

/** What is remembered under one id, and its gate. */
class Entry {
  state = {
    calls: 0, state: "none", body: "none", read: 0, produced: 0,
    send: "none", task: "none", disconnected: false,
  };
  gate = new Promise((open) => { this.open = open; });

  static of(id) {
    let entry = entries.get(id);
    if (!entry) {
      entry = new Entry();
      if (id) entries.set(id, entry);
      else entry.open();
      if (entries.size > IDS) entries.delete(entries.keys().next().value);
    }
    return entry;
  }

  async wait() {
    const ended = new AbortController();
    const late = sleep(GATE_MS, null, { signal: ended.signal }).catch(() => {});
    await Promise.race([this.gate, late]);
    ended.abort();
  }
}

/** One request: what came, what is remembered of it, and how it is answered. */
class Call {
  constructor(req, res, target) {
    Object.assign(this, { req, res, target });
    const mark = target.indexOf("?");
    const before = mark < 0 ? target : target.slice(0, mark);
    // node passes the absolute form on as it is, with a scheme and an authority before the path.
    this.path = before.replace(/^http:\/\/[^/]*/i, "") || "/";
    this.queryText = mark < 0 ? null : target.slice(mark + 1);
    this.query = {};
    for (const pair of (this.queryText ?? "").split("&")) {
      const [name, ...value] = pair.split("=");
      this.query[name] ??= value.join("=");
    }
    this.entry = Entry.of(this.query.id);
    this.state = this.entry.state;
  }

  number(name) {
    return Number(this.query[name] ?? 0);
  }

  head(status, fields) {
    this.res.statusCode = status;
    for (const [name, value] of Object.entries(fields)) this.res.setHeader(name, value);
  }

  /** Answers with a text or bytes, whose length node sees and announces. */
  answer(body, status = 200, fields = {}, type = "text/plain") {
    this.head(status, { "content-type": type, ...fields });
    this.res.end(body);
  }

  /** Answers with an iterator, whose length nobody knows. */
  async answerWith(pieces, fields = {}) {
    const { res, state } = this;
    this.head(200, { "content-type": "text/plain", ...fields });
    const closed = new Promise((close) => res.once("close", close));
    try {
      for await (const piece of pieces) {
        if (res.destroyed) return;
        await Promise.race([new Promise((sent) => res.write(piece, sent)), closed]);
      }
      if (res.destroyed) return;
      res.end();
      state.send = "ok";
    } finally {
      if (state.send === "none") state.send = "cancelled";
    }
  }

  /** The request's body, piece by piece. */
  async *pieces(pause) {
    this.state.body = "reading";
    try {
      for await (const piece of this.req) {
        this.state.read += piece.length;
        yield piece;
        if (pause) await pause();
        pause = null;
      }
    } catch (error) {
      this.state.body = "error";
      throw error;
    }
    this.state.body = "end";
  }
}

/** The application: `/stopped` and `/inner` are its middleware's. */
async function app(req, res, target) {
  const { path } = new Call(req, res, target);
  if (path === "/stopped") return new Call(req, res, target).answer("stopped\n", 403);
  if (path.startsWith("/inner/")) return identity(probe)(req, res, target.replace("/inner/", "/"));
  return probe(req, res, target);
}

/** A middleware that does nothing. */
function identity(inner) {
  return (req, res, target) => inner(req, res, target);
}

async function probe(req, res, target) {
  const call = new Call(req, res, target);
  const remembered = !["/state", "/open"].includes(call.path);
  if (remembered) {
    call.state.calls += 1;
    call.state.state = "running";
  }
  live += 1;
  try {
    await (PATHS[call.path] ?? missing)(call);
  } finally {
    live -= 1;
    if (remembered) call.state.state = "finished";
  }
}

const missing = (call) => call.answer("no such path\n", 404);

/** Pairs of names and values out of node's flat list. */
function fields(raw) {
  const pairs = [];
  for (let at = 0; at < raw.length; at += 2) pairs.push([raw[at].toLowerCase(), raw[at + 1]]);
  return pairs;
}

async function reflect(call) {
  const { req } = call;
  let body = 0;
  for await (const piece of call.pieces()) body += piece.length;
  const { remoteAddress, remotePort } = req.socket;
  const shown = {
    method: req.method,
    target: call.target,
    path: call.path,
    query: call.queryText,
    version: req.httpVersion,
    scheme: null,
    peer: `${remoteAddress}:${remotePort}`,
    fields: fields(req.rawHeaders),
    trailers: fields(req.rawTrailers),
    body,
  };
  call.answer(JSON.stringify(shown), 200, {}, "application/json");
}

async function echo(call) {
  const pieces = [];
  for await (const piece of call.pieces()) pieces.push(piece);
  call.answer(Buffer.concat(pieces));
}

async function read(call, pause) {
  for await (const _ of call.pieces(pause));
  call.answer("read\n");
}

async function hold(call) {
  const gone = () => { call.state.disconnected = true; };
  call.res.once("close", gone);
  await call.entry.wait();
  call.res.off("close", gone);
  call.answer("held\n");
}

async function* gated(call) {
  yield "first\n";
  await call.entry.wait();
  yield "second\n";
}

async function* failing() {
  yield "first\n";
  throw new Error(SECRET);
}

function* flood(call) {
  for (let n = 0; n < 4096; n += 1) {
    call.state.produced += 65536;
    yield Buffer.alloc(65536, "x");
  }
}

function badField(call) {
  const between = { crlf: "\r\n", cr: "\r", lf: "\n" }[call.query.kind] ?? "\0";
  call.answer("bad\n", 200, { "x-bad": `a${between}x-injected: yes` });
}

function hop(call) {
  const fields = {
    connection: "x-hop", "x-hop": "1", "keep-alive": "timeout=9",
    "transfer-encoding": "gzip", upgrade: "nothing",
  };
  call.answer("hop\n", 200, fields);
}

function sendTrailers(call) {
  // Only chunks have room for trailers, and node refuses to announce them elsewhere.
  const chunked = call.req.method !== "HEAD" && call.req.httpVersion !== "1.0";
  call.head(200, { "content-type": "text/plain", ...(chunked && { trailer: "x-trailer" }) });
  call.res.write("data\n");
  call.res.addTrailers({ "x-trailer": "yes" });
  call.res.end();
}

function task(call) {
  call.state.task = "running";
  call.entry.wait().then(() => { call.state.task = "finished"; });
  call.answer("started\n");
}

function local(call) {
  return locals.run(call.query.n ?? "", async () => {
    for (let n = 0; n < 5; n += 1) await sleep(1);
    call.answer(locals.getStore());
  });
}

const PATHS = {
  "/": (call) => call.answer("ok\n"),
  "/probe": (call) =>
    call.answer(`gateway-conformance probe 1\nfeatures: ${FEATURES.join(" ")}\n`),
  "/echo": echo,
  "/reflect": reflect,
  "/read": (call) => read(call),
  "/late-read": (call) => call.entry.wait().then(() => read(call)),
  "/first-read": (call) => read(call, () => call.entry.wait()),
  "/unread": (call) => call.answer("unread\n"),
  "/early": (call) => call.answer("early\n", 413),
  "/known": (call) => call.answer("x".repeat(call.number("bytes"))),
  "/stream": (call) =>
    call.answerWith(Array(call.number("chunks")).fill("x".repeat(call.number("bytes")))),
  "/empty-chunk": (call) => call.answerWith(["a", "", "b"]),
  "/gated": (call) => call.answerWith(gated(call)),
  "/hold": hold,
  "/slow": (call) => sleep(call.number("ms")).then(() => call.answer("slow\n")),
  "/open": (call) => { call.entry.open(); call.answer("open\n"); },
  "/state": (call) => call.answer(JSON.stringify(call.state), 200, {}, "application/json"),
  "/status": (call) => call.answer("body\n", call.number("code")),
  "/cookies": (call) => call.answer("cookies\n", 200, { "set-cookie": ["a=1", "b=2"] }),
  "/date": (call) => call.answer("date\n", 200, { date: "Sun, 06 Nov 1994 08:49:37 GMT" }),
  "/bad-field": badField,
  "/hop": hop,
  "/short": (call) => call.answerWith(["x".repeat(50)], { "content-length": 100 }),
  "/long": (call) =>
    call.answerWith(["x".repeat(10), "y".repeat(10)], { "content-length": 10 }),
  "/fail": () => { throw new Error(SECRET); },
  "/fail-late": (call) =>
    call.answerWith(failing(), call.query.framing === "length" ? { "content-length": 100 } : {}),
  "/send-trailers": sendTrailers,
  "/upgrade": (call) => call.answer("no echo\n", 426, { connection: "upgrade", upgrade: "echo" }),
  "/flood": (call) => call.answerWith(flood(call)),
  "/task": task,
  "/local": local,
  "/live": (call) => call.answer(String(live - 1)),
};

async function serve(req, res) {
  try {
    await app(req, res, req.url);
  } catch (error) {
    console.error(error);
    if (res.headersSent) return res.destroy();
    // What the application has set is no part of this answer, and may be what went wrong.
    for (const name of res.getHeaderNames()) res.removeHeader(name);
    res.statusCode = 500;
    res.end("the application failed\n");
  }
}

const wantsEcho = (req) =>
  req.url.split("?")[0] === "/upgrade" && req.headers.upgrade?.toLowerCase() === "echo";

// Before node 24 every request that offers an upgrade ends up here, also those that want none.
function upgrade(req, socket, head) {
  socket.on("error", () => socket.destroy());
  if (!wantsEcho(req)) {
    const res = new http.ServerResponse(req);
    res.shouldKeepAlive = false;
    res.assignSocket(socket);
    res.on("finish", () => socket.end());
    return serve(req, res);
  }
  socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
  socket.write(head);
  socket.pipe(socket);
}

const server = http.createServer({ shouldUpgradeCallback: wantsEcho }, serve);
server.on("upgrade", upgrade);
server.listen(Number(process.argv[2] ?? 8000), "127.0.0.1");
process.on("SIGTERM", () => server.close());
