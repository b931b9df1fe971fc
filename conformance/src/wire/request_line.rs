//! REQ: request line and target.

use std::fmt;
use std::time::Instant;

use serde_json::Value;

use super::control::fresh_id;
use super::session::REFUSALS;
use super::{Client, Ended, Received, Response, Session, Stop, When, WireCheck};
use crate::verdict::{Case, CaseResult, Kind};

pub(crate) const CHECKS: &[WireCheck] = &[
    check("REQ-01", req_01_empty_line),
    check("REQ-02", req_02_three_words),
    check("REQ-03", req_03_method),
    check("REQ-04", req_04_bare_cr),
    check("REQ-05", req_05_bare_lf),
    check("REQ-06", req_06_version),
    check("REQ-07", req_07_later_minor_versions),
    check("REQ-08", req_08_methods_reach_the_application),
    check("REQ-09", req_09_raw_target),
    check("REQ-10", req_10_absolute_form),
    check("REQ-11", req_11_forms_and_methods),
    check("REQ-12", req_12_host),
    check("REQ-13", req_13_old_version_without_host),
    check("REQ-14", req_14_user_information),
    check("REQ-15", req_15_long_targets),
    check("REQ-16", req_16_bytes_of_the_target),
    check("REQ-17", req_17_any_segments),
    check("REQ-18", req_18_preface_of_http2),
];

pub(super) const fn check(
    rule: &'static str,
    check: fn(&mut Session<'_>) -> Result<(), Stop>,
) -> WireCheck {
    WireCheck { rule, after: &[], when: When::Beside, check }
}

/// The characters of ASCII that are neither white nor control, and not part of a token.
pub(super) const DELIMITERS: &[u8] = b"\"(),/:;<=>?@[\\]{}";

/// A request, and what it is in a few words.
pub(super) type Named = (String, Vec<u8>);

/// How requests are to be refused.
#[derive(Clone, Copy)]
pub(super) struct Refusal {
    pub(super) statuses: &'static [u16],
    /// What an accepted one is.
    pub(super) miss: CaseResult,
}

impl Refusal {
    /// With 400, where a MUST asks for it.
    pub(super) const MUST: Refusal = Refusal { statuses: &[400], miss: CaseResult::Fail };
    /// With 400, where a SHOULD asks for it.
    pub(super) const SHOULD: Refusal = Refusal { statuses: &[400], miss: CaseResult::Warn };

    /// Each has to be refused, and its connection closed. Gives whether all were tried.
    pub(super) fn closes(
        self,
        session: &mut Session<'_>,
        requests: &[Named],
    ) -> Result<bool, Stop> {
        each(session, requests, |session, (name, request)| {
            let mut client = session.connect()?;
            client.send(request);
            session.refusal(name, &mut client, self.statuses, self.miss);
            Ok(())
        })
    }

    /// Each has to be refused, whatever becomes of its connection.
    pub(super) fn answers(self, session: &mut Session<'_>, requests: &[Named]) -> Result<(), Stop> {
        each(session, requests, |session, (name, request)| {
            let received = session.ask(request)?;
            self.judge(session, name, &received);
            Ok(())
        })
        .map(drop)
    }

    /// As [`Refusal::closes`], and then also as [`Refusal::in_pipelines`].
    pub(super) fn closes_everywhere(
        self,
        session: &mut Session<'_>,
        requests: &[Named],
    ) -> Result<(), Stop> {
        if self.closes(session, requests)? { self.in_pipelines(session, requests) } else { Ok(()) }
    }

    /// As [`Refusal::answers`], for one answer.
    pub(super) fn judge(self, session: &mut Session<'_>, name: &str, received: &Received) {
        let result = match received {
            Received::Response(response) if self.statuses.contains(&response.status) => {
                CaseResult::Pass
            }
            Received::Response(response) if REFUSALS.contains(&response.status) => CaseResult::Warn,
            Received::Closed | Received::Reset => CaseResult::Warn,
            _ => self.miss,
        };
        let words: Vec<String> = self.statuses.iter().map(u16::to_string).collect();
        session.case(name, Kind::Refuse, result, &words.join(" or "), received);
    }

    /// The same between two good requests, all in one segment: what stands behind a malformed
    /// request must never be served.
    pub(super) fn in_pipelines(
        self,
        session: &mut Session<'_>,
        requests: &[Named],
    ) -> Result<(), Stop> {
        let (first, id) = (session.request("GET", "/", ""), fresh_id());
        let behind = session.request("GET", &format!("/?id={id}"), "");
        each(session, requests, |session, (name, request)| {
            let mut client = session.connect()?;
            client.send([&first[..], request, &behind].concat());
            let (served, got, ended) = answers(&mut client, 3);
            let result = if served <= 1 && ended { CaseResult::Pass } else { self.miss };
            let name = format!("{name}, in a pipeline");
            let expected = "at most the request before it served, then a close";
            session.case(&name, Kind::Refuse, result, expected, &got);
            Ok(())
        })?;
        if session.has("state") {
            let state = session.get(&format!("/state?id={id}"))?;
            let calls = member(&state, "calls");
            let result = if calls == 0 { CaseResult::Pass } else { self.miss };
            let name = "what stands behind them";
            session.case(name, Kind::Refuse, result, "never reaches the application", &calls);
        }
        Ok(())
    }
}

/// Tries each, and stops after two that used up all patience: the others would as well. Gives
/// whether it came to the end.
pub(super) fn each(
    session: &mut Session<'_>,
    requests: &[Named],
    mut one: impl FnMut(&mut Session<'_>, &Named) -> Result<(), Stop>,
) -> Result<bool, Stop> {
    let mut slow = 0;
    for request in requests {
        let started = Instant::now();
        one(session, request)?;
        slow += usize::from(started.elapsed() >= session.patience().signal);
        if slow == 2 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads so many responses, or fewer: how many of them served something, all in words, and whether
/// the connection has come to its end.
pub(super) fn answers(client: &mut Client, most: usize) -> (usize, String, bool) {
    let (mut served, mut words) = (0, Vec::new());
    for _ in 0..most {
        let received = client.response("GET");
        words.push(received.to_string());
        match received {
            Received::Response(response) => served += usize::from(is_served(&response)),
            Received::Malformed(_) => return (most, words.join(", then "), false),
            other => {
                let ended = !matches!(other, Received::Nothing);
                return (served, words.join(", then "), ended);
            }
        }
    }
    (served, words.join(", then "), served < most && client.ended() != Ended::Open)
}

/// Whether the server took the request for a good one.
pub(super) fn is_served(response: &Response) -> bool {
    !REFUSALS.contains(&response.status) && response.status < 500 && response.complete
}

/// Whether another request may follow on the connection.
pub(super) fn persists(response: &Response) -> bool {
    response.version == "HTTP/1.1" && !response.lists("connection", "close")
}

/// A number in a JSON response.
pub(super) fn member(response: &Response, name: &str) -> u64 {
    let json: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    json[name].as_u64().unwrap_or_default()
}

/// What the application saw of a request; or what came in place of that.
pub(super) struct Seen(Result<Value, Received>);

impl Seen {
    /// Sends a request for `/reflect`.
    pub(super) fn ask(session: &mut Session<'_>, request: impl AsRef<[u8]>) -> Result<Seen, Stop> {
        Ok(Seen::of(session.ask(request)?))
    }

    /// What this response says.
    pub(super) fn of(received: Received) -> Seen {
        let json = match &received {
            Received::Response(response) if response.status == 200 => {
                serde_json::from_slice::<Value>(&response.body).ok()
            }
            _ => None,
        };
        Seen(json.filter(|json| json["method"].is_string()).ok_or(received))
    }

    /// One member of the description, as text; none where it is null.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.as_ref().ok().and_then(|json| json[name].as_str())
    }

    /// The values of all fields with this name.
    pub(super) fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.0.as_ref().ok().and_then(|json| json["fields"].as_array());
        let named = fields.into_iter().flatten().filter(|field| field[0] == name);
        named.filter_map(|field| field[1].as_str()).collect()
    }

    /// What came in place of a description.
    pub(super) fn other(&self) -> Option<&Received> {
        self.0.as_ref().err()
    }

    /// Whether the application took the path for another one, which it does not know.
    fn is_elsewhere(&self) -> bool {
        matches!(self.other(), Some(Received::Response(response)) if response.status == 404)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(json) => write!(f, "{json}"),
            Err(received) => write!(f, "{received}"),
        }
    }
}

/// A request with this line and a good `Host`.
fn line(session: &Session<'_>, line: impl AsRef<[u8]>) -> Vec<u8> {
    let host = format!("\r\nHost: {}\r\n\r\n", session.target.authority);
    [line.as_ref(), host.as_bytes()].concat()
}

/// A request for `/` with these lines for fields, each ending with CRLF.
pub(super) fn head(lines: impl AsRef<[u8]>) -> Vec<u8> {
    [b"GET / HTTP/1.1\r\n", lines.as_ref(), b"\r\n"].concat()
}

/// Requests with these lines, each named by what it is.
fn lines(session: &Session<'_>, named: &[(&str, &str)]) -> Vec<Named> {
    named.iter().map(|(name, text)| ((*name).to_owned(), line(session, text))).collect()
}

fn req_01_empty_line(session: &mut Session<'_>) -> Result<(), Stop> {
    let get = session.request("GET", "/", "");
    session.accept("GET", &get)?;
    // The RFC speaks of at least one.
    let received = session.ask([b"\r\n", &get[..]].concat())?;
    let held = matches!(&received, Received::Response(response) if is_served(response));
    session.should("CRLF, then GET", "served", &received, held);
    let mut firsts = vec![("CRLF between two requests", get.clone())];
    if session.has("echo") {
        let post = session.request("POST", "/echo", "Content-Length: 3\r\n");
        firsts.push(("CRLF behind a body", [&post[..], b"abc"].concat()));
    }
    for (name, first) in firsts {
        let mut client = session.connect()?;
        client.send([&first[..], b"\r\n", &get].concat());
        if matches!(client.response("GET"), Received::Response(first) if persists(&first)) {
            let second = client.response("GET");
            let held = matches!(&second, Received::Response(response) if is_served(response));
            session.should(name, "both served", &second, held);
        }
    }
    Ok(())
}

fn req_02_three_words(session: &mut Session<'_>) -> Result<(), Stop> {
    let mut requests = lines(
        session,
        &[
            ("no version", "GET /"),
            ("no target", "GET HTTP/1.1"),
            ("an empty target", "GET  HTTP/1.1"),
            ("no method", "/ HTTP/1.1"),
            ("an empty method", " / HTTP/1.1"),
            ("a method alone", "GET"),
            ("two spaces before the target", "GET  / HTTP/1.1"),
            ("two spaces before the version", "GET /  HTTP/1.1"),
            ("a tab before the target", "GET\t/ HTTP/1.1"),
            ("a tab before the version", "GET /\tHTTP/1.1"),
            ("a vertical tab before the target", "GET\x0b/ HTTP/1.1"),
            ("a form feed before the version", "GET /\x0cHTTP/1.1"),
            ("a space at the start", " GET / HTTP/1.1"),
            ("a tab at the start", "\tGET / HTTP/1.1"),
            ("a space at the end", "GET / HTTP/1.1 "),
            ("a tab at the end", "GET / HTTP/1.1\t"),
            ("a fourth word", "GET / HTTP/1.1 x"),
            ("two versions", "GET / HTTP/1.1 HTTP/1.1"),
            ("letters behind the version", "GET / HTTP/1.1x"),
            ("a space in the target", "GET /a b HTTP/1.1"),
            ("no space before the target", "GET/ HTTP/1.1"),
            ("no space before the version", "GET /HTTP/1.1"),
            ("the words in another order", "HTTP/1.1 / GET"),
            ("lower-case http", "GET / http/1.1"),
            ("a field in its place", "X-A: b"),
        ],
    );
    requests.push(("a request of HTTP/0.9".to_owned(), b"GET /\r\n\r\n".to_vec()));
    session.accept("GET", session.request("GET", "/", ""))?;
    Refusal::MUST.closes_everywhere(session, &requests)
}

fn req_03_method(session: &mut Session<'_>) -> Result<(), Stop> {
    let bytes = DELIMITERS.iter().chain(b"\x00\x01\x1f\x7f\x80\xe9\xff");
    let mut requests: Vec<Named> = bytes
        .map(|byte| {
            let request = line(session, [b"G", &[*byte][..], b"T / HTTP/1.1"].concat());
            (format!("G{}T", byte.escape_ascii()), request)
        })
        .collect();
    requests.extend(lines(
        session,
        &[
            ("(GET", "(GET / HTTP/1.1"),
            ("GET:", "GET: / HTTP/1.1"),
            ("\"GET\"", "\"GET\" / HTTP/1.1"),
        ],
    ));
    session.accept("GET", session.request("GET", "/", ""))?;
    if Refusal::MUST.closes(session, &requests)? {
        Refusal::MUST.in_pipelines(session, &requests[..3])?;
    }
    Ok(())
}

fn req_04_bare_cr(session: &mut Session<'_>) -> Result<(), Stop> {
    let authority = session.target.authority.clone();
    // Where the CR stands, and what is before and behind it.
    let places: &[(&str, &str, &str)] = &[
        ("at the start", "", "GET / HTTP/1.1\r\nHost: {}\r\n\r\n"),
        ("in the method", "G", "ET / HTTP/1.1\r\nHost: {}\r\n\r\n"),
        ("behind the method", "GET", "/ HTTP/1.1\r\nHost: {}\r\n\r\n"),
        ("before the target", "GET ", "/ HTTP/1.1\r\nHost: {}\r\n\r\n"),
        ("in the target", "GET /a", "b HTTP/1.1\r\nHost: {}\r\n\r\n"),
        ("behind the target", "GET /", " HTTP/1.1\r\nHost: {}\r\n\r\n"),
        ("in place of a space", "GET /", "HTTP/1.1\r\nHost: {}\r\n\r\n"),
        ("before the version", "GET / ", "HTTP/1.1\r\nHost: {}\r\n\r\n"),
        ("in the version", "GET / HTTP/1", ".1\r\nHost: {}\r\n\r\n"),
        ("behind the version", "GET / HTTP/1.1", "\r\nHost: {}\r\n\r\n"),
        ("as the end of the request line", "GET / HTTP/1.1", "Host: {}\r\n\r\n"),
        ("before a name", "GET / HTTP/1.1\r\nHost: {}\r\n", "X-A: b\r\n\r\n"),
        ("in a name", "GET / HTTP/1.1\r\nHost: {}\r\nX-", "A: b\r\n\r\n"),
        ("behind a name", "GET / HTTP/1.1\r\nHost: {}\r\nX-A", ": b\r\n\r\n"),
        ("before a value", "GET / HTTP/1.1\r\nHost: {}\r\nX-A:", "b\r\n\r\n"),
        ("in a value", "GET / HTTP/1.1\r\nHost: {}\r\nX-A: b", "c\r\n\r\n"),
        ("behind a value", "GET / HTTP/1.1\r\nHost: {}\r\nX-A: b", "\r\n\r\n"),
        ("as the end of a field", "GET / HTTP/1.1\r\nHost: {}\r\nX-A: b", "X-B: c\r\n\r\n"),
        ("before the empty line", "GET / HTTP/1.1\r\nHost: {}\r\n", "\r\n\r\n"),
    ];
    let mut requests: Vec<Named> = places
        .iter()
        .map(|(name, before, behind)| {
            let request = format!("{before}\r{behind}").replace("{}", &authority);
            ((*name).to_owned(), request.into_bytes())
        })
        .collect();
    let all = format!("GET / HTTP/1.1\rHost: {authority}\r\r\r\n\r\n");
    requests.push(("as the end of all lines".to_owned(), all.into_bytes()));
    session.accept("GET", session.request("GET", "/", ""))?;
    // The first stands before the head rather than in it: some skip any CR and LF there.
    let (before, within) = requests.split_at(1);
    Refusal::SHOULD.closes(session, before)?;
    Refusal::MUST.closes_everywhere(session, within)
}

fn req_05_bare_lf(session: &mut Session<'_>) -> Result<(), Stop> {
    let good = format!("GET / HTTP/1.1\r\nHost: {}\r\nX-A: b\r\n\r\n", session.target.authority);
    session.accept("GET", &good)?;
    let ends: Vec<usize> = good.match_indices("\r\n").map(|(at, _)| at).collect();
    let names = ["behind the request line", "behind Host", "behind a field", "as the empty line"];
    let mut requests: Vec<Named> = names
        .iter()
        .zip(ends)
        .map(|(name, at)| {
            let request = [&good[..at], &good[at + 1..]].concat();
            ((*name).to_owned(), request.into_bytes())
        })
        .collect();
    requests.push(("behind all lines".to_owned(), good.replace("\r\n", "\n").into_bytes()));
    for (_, request) in &mut requests {
        // Whoever ends lines at CRLF alone gets the end that it waits for.
        request.extend(b"\r\n\r\n");
    }
    Refusal::SHOULD.closes(session, &requests)?;
    let mut client = session.connect()?;
    client.send(good.replace("\r\n", "\n"));
    let received = client.response_within("GET", session.patience().silence);
    // Whoever ends lines at CRLF alone waits for the first one.
    let held = !matches!(&received, Received::Response(response) if is_served(response));
    session.should("behind all lines, and no CRLF at all", "not served", &received, held);
    Ok(())
}

fn req_06_version(session: &mut Session<'_>) -> Result<(), Stop> {
    let requests = |versions: &[&str]| -> Vec<Named> {
        let named = |version: &&str| {
            let request = line(session, format!("GET / {version}"));
            (version.escape_default().to_string(), request)
        };
        versions.iter().map(named).collect()
    };
    let malformed = requests(&[
        "HTTP/1.10",
        "HTTP/1.01",
        "HTTP/01.1",
        "HTTP/11",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/",
        "HTTP",
        "HTTP/1,1",
        "HTTP/1.1.1",
        "HTTP/-1.1",
        "HTTP/+1.1",
        "HTTP/1.a",
        "HTTP/x.y",
        "HTTP/1.\u{b2}",
        "HTTP 1.1",
        "HTTP-1.1",
        "HTTP//1.1",
        "HTTPS/1.1",
        "HTP/1.1",
        "http/1.1",
        "Http/1.1",
        "FTP/1.1",
        "1.1",
    ]);
    let other = requests(&["HTTP/2.0", "HTTP/3.0", "HTTP/9.9", "HTTP/0.9", "HTTP/0.0"]);
    session.accept("HTTP/1.1", session.request("GET", "/", ""))?;
    let either = Refusal { statuses: &[400, 505], ..Refusal::MUST };
    if either.closes(session, &malformed)? {
        either.in_pipelines(session, &malformed[..4])?;
    }
    Refusal { statuses: &[505], ..Refusal::MUST }.answers(session, &other)
}

fn req_07_later_minor_versions(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("HTTP/1.1", session.request("GET", "/", ""))?;
    for minor in 2..=9 {
        let received = session.ask(line(session, format!("GET / HTTP/1.{minor}")))?;
        let held = matches!(&received, Received::Response(response)
            if is_served(response) && ["HTTP/1.0", "HTTP/1.1"].contains(&&*response.version));
        let name = format!("HTTP/1.{minor}");
        let got = match &received {
            Received::Response(response) => format!("{received} of {}", response.version),
            _ => received.to_string(),
        };
        session.should(&name, "served, with a version that exists", got, held);
    }
    Ok(())
}

fn req_08_methods_reach_the_application(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("GET", session.request("GET", "/", ""))?;
    let methods =
        ["FoO", "get", "Post", "PROPFIND", "M-SEARCH", "X", "PRIOR", "a!#$%&'*+.^_`|~0-9"];
    for method in methods {
        if session.has("reflect") {
            let seen = Seen::ask(session, session.request(method, "/reflect", ""))?;
            let result = match seen.other() {
                None => CaseResult::of(seen.text("method") == Some(method)),
                // What the RFC says to one that is not implemented.
                Some(Received::Response(other)) if other.status == 501 => CaseResult::Warn,
                Some(_) => CaseResult::Fail,
            };
            let expected = "the application sees this method";
            session.case(method, Kind::Accept, result, expected, &seen);
        } else {
            let received = session.ask(session.request(method, "/", ""))?;
            let held = matches!(&received, Received::Response(response) if response.status != 400);
            session.should(method, "any answer but 400: it is a token", &received, held);
        }
    }
    Ok(())
}

fn req_09_raw_target(session: &mut Session<'_>) -> Result<(), Stop> {
    let seen = Seen::ask(session, session.request("GET", "/reflect", ""))?;
    let held = seen.text("path") == Some("/reflect");
    session.case("/reflect", Kind::Accept, CaseResult::of(held), "that path", &seen);
    if !held {
        return Err(Stop::blocked("twin-refused", format!("/reflect itself gave {seen}")));
    }
    let queries = [
        "a=b",
        "a=b?c=d",
        "?",
        "??a",
        "a=b;c=d",
        "a=%41%2f%2F",
        "a=+%20+",
        "//../.",
        "/reflect",
        "a&&b&",
        "a=b%3Fc",
        "http://a/?b",
    ];
    for query in queries {
        let target = format!("/reflect?{query}");
        let seen = Seen::ask(session, session.request("GET", &target, ""))?;
        let raw = !session.has("raw-target") || seen.text("target") == Some(&target);
        let split = seen.text("query") == Some(query) && seen.text("path") == Some("/reflect");
        let held = raw && split;
        session.check(&target, &format!("the path /reflect, the query {query}"), &seen, held);
    }
    let seen = Seen::ask(session, session.request("GET", "/reflect?", ""))?;
    let held =
        seen.text("path") == Some("/reflect") && seen.text("query").is_none_or(str::is_empty);
    session.check("/reflect?", "the path /reflect, an empty query", &seen, held);
    // Whoever shows what came shows it all; an application that does not know such a path says 404.
    let targets = [
        "//reflect",
        "/inner//reflect",
        "/inner%2Freflect",
        "/inner%2freflect",
        "/./reflect",
        "/a/../reflect",
        "/a/%2e%2e/reflect",
        "/%72eflect",
        "/reflect;a=b",
        "/reflect/",
        "/reflect//",
        "/reflect%3Fa",
        "/reflect%20",
        "/reflect%00",
        "/REFLECT",
        "/reflect?a=%zz",
        "///reflect",
    ];
    for target in targets {
        let seen = Seen::ask(session, session.request("GET", target, ""))?;
        let raw = seen.text("target") == Some(target);
        let tidied = seen.other().is_none() && !target.contains('%') && !target.contains("?");
        let held = match seen.other() {
            // What has no meaning as a URI may as well be refused.
            Some(Received::Response(other)) if other.status == 400 => {
                ["%zz", "%00"].iter().any(|odd| target.contains(odd))
            }
            Some(_) => seen.is_elsewhere(),
            None if session.has("raw-target") => {
                let path = target.split('?').next();
                raw && (target.contains('%') || seen.text("path") == path)
            }
            None => !tidied || seen.text("path") != Some("/reflect"),
        };
        session.check(target, "this very target, or 404 where there is no such path", &seen, held);
    }
    Ok(())
}

fn req_10_absolute_form(session: &mut Session<'_>) -> Result<(), Stop> {
    let authority = session.target.authority.clone();
    session.accept("GET /", session.request("GET", "/", ""))?;
    session
        .must_accept("http://…/", session.request("GET", &format!("http://{authority}/"), ""))?;
    session
        .must_accept("HTTP://…/", session.request("GET", &format!("HTTP://{authority}/"), ""))?;
    let received = session.ask(session.request("GET", &format!("http://{authority}"), ""))?;
    let held = matches!(&received, Received::Response(response) if is_served(response));
    session.should("without a path", "served as /", &received, held);
    if !session.has("reflect") {
        return Ok(());
    }
    for (host, target) in [
        ("target.example", "http://target.example/reflect?a=b"),
        ("target.example:81", "http://target.example:81/reflect?a=b"),
    ] {
        let seen = Seen::ask(session, session.request("GET", target, ""))?;
        let shown = seen.text("target").is_some_and(|seen| seen == target);
        let told = seen.values("host") == [host];
        let split = seen.text("path") == Some("/reflect") && seen.text("query") == Some("a=b");
        let name = format!("{host} above Host");
        let expected = "the path, the query, and the target's authority, in the target or as Host";
        session.check(&name, expected, &seen, split && (shown || told));
    }
    Ok(())
}

fn req_11_forms_and_methods(session: &mut Session<'_>) -> Result<(), Stop> {
    let id = fresh_id();
    session.accept("GET /", session.request("GET", "/", ""))?;
    let received = session.ask(session.request("OPTIONS", "*", ""))?;
    let held = matches!(&received, Received::Response(response) if response.status != 400);
    session.should("OPTIONS *", "any answer but 400", &received, held);
    let request = |method: &str, target: &str| {
        (format!("{method} {target}"), session.request(method, target, "Content-Length: 0\r\n"))
    };
    let malformed = [
        request("GET", "*"),
        request("HEAD", "*"),
        request("POST", "*"),
        request("OPTIONS", "**"),
        request("OPTIONS", "*/"),
        request("GET", "*?a"),
        request("GET", "example.com:80"),
        request("GET", "example.com"),
        request("POST", "example.com:80"),
        request("OPTIONS", "example.com:80"),
        request("GET", "127.0.0.1:80"),
        request("GET", "a/b"),
        request("GET", "?a"),
        request("GET", "\\"),
        request("GET", "http:/"),
        request("GET", "http:///"),
        request("GET", "://a/"),
    ];
    let origin = format!("/?id={id}");
    let url = format!("http://{}/?id={id}", session.target.authority);
    let connects: Vec<Named> = [&*origin, "*", &url, "example.com", "example.com:", ":80"]
        .map(|target| (format!("CONNECT {target}"), session.request("CONNECT", target, "")))
        .into();
    Refusal::MUST.answers(session, &malformed)?;
    // A server may as well say that it connects nobody.
    Refusal { statuses: &[400, 405, 501], ..Refusal::MUST }.answers(session, &connects)?;
    if session.has("state") {
        let state = session.get(&format!("/state?id={id}"))?;
        let calls = member(&state, "calls");
        session.check("CONNECT with a path", "never reaches the application", calls, calls == 0);
    }
    Ok(())
}

fn req_12_host(session: &mut Session<'_>) -> Result<(), Stop> {
    let authority = session.target.authority.clone();
    session.accept("Host", head(format!("Host: {authority}\r\n")))?;
    session.must_accept("host, without a space", head(format!("host:{authority}\r\n")))?;
    if session.has("reflect") {
        // The application of the probe takes any name, so that only the server can refuse it.
        for host in
            ["[::1]", "[::1]:80", "a_b.example:80", "a.example:", "192.0.2.7", "A-1.example."]
        {
            session.must_accept(host, head(format!("Host: {host}\r\n")))?;
        }
    }
    let mut requests: Vec<Named> = [
        ("none", String::new()),
        ("only a field with a name like it", format!("X-Host: {authority}\r\n")),
        ("the same twice", format!("Host: {authority}\r\n").repeat(2)),
        ("two", format!("Host: {authority}\r\nHost: other.example\r\n")),
        ("two, the other first", format!("Host: other.example\r\nHost: {authority}\r\n")),
        (
            "two, one in lower case",
            format!("Host: {authority}\r\nX-A: b\r\nhost: other.example\r\n"),
        ),
        ("two, one empty", format!("Host: {authority}\r\nHost:\r\n")),
        ("three", format!("Host: {authority}\r\n").repeat(3)),
    ]
    .map(|(name, lines)| (name.to_owned(), head(lines)))
    .into();
    let old = format!("GET / HTTP/1.0\r\nHost: {authority}\r\nHost: other.example\r\n\r\n");
    requests.push(("two, in HTTP/1.0".to_owned(), old.into_bytes()));
    let absolute = format!("GET http://{authority}/ HTTP/1.1\r\n\r\n");
    requests.push(("none, beside an absolute-form".to_owned(), absolute.into_bytes()));
    let invalid: &[&[u8]] = &[
        b"a.example/b",
        b"a.example?b",
        b"a.example#b",
        b"a b",
        b"a\tb",
        b"a.example, b.example",
        b"a.example:b",
        b"a.example:80b",
        b"a.example:-1",
        b"a.example:80:80",
        b"[::1",
        b"::1",
        b"[::1]b",
        b"[::1]:b",
        b"[a.example]",
        b"http://a.example/",
        b"a\\b",
        b"<a>",
        b"\"a\"",
        b"a|b",
        b"a^b",
        b"{a}",
        b"a%zz",
        b"a%",
        b"a\x01b",
        b"a\x7fb",
        b"a\xe9b",
    ];
    requests.extend(invalid.iter().map(|value| {
        let lines = [b"Host: ", *value, b"\r\n"].concat();
        (format!("invalid: {}", value.escape_ascii()), head(lines))
    }));
    Refusal::MUST.answers(session, &requests)?;
    // The check is for each request, not for the first one of a connection.
    let (first, mut client) = (session.request("GET", "/", ""), session.connect()?);
    client.send(&first);
    if matches!(client.response("GET"), Received::Response(response) if persists(&response)) {
        client.send(head(""));
        let second = client.response("GET");
        Refusal::MUST.judge(session, "none, on a connection in use", &second);
    }
    Ok(())
}

fn req_13_old_version_without_host(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("HTTP/1.1", session.request("GET", "/", ""))?;
    for (name, lines) in [("alone", ""), ("with fields", "User-Agent: check\r\nAccept: */*\r\n")] {
        let received = session.ask(format!("GET / HTTP/1.0\r\n{lines}\r\n"))?;
        let held = matches!(&received, Received::Response(response) if is_served(response));
        session.should(name, "served", &received, held);
    }
    Ok(())
}

fn req_14_user_information(session: &mut Session<'_>) -> Result<(), Stop> {
    let authority = session.target.authority.clone();
    session.accept("without", session.request("GET", "/", ""))?;
    let mut requests: Vec<Named> = ["user@", "user:pass@", "@", "a.example@", "a%40@"]
        .map(|user| (format!("Host: {user}…"), head(format!("Host: {user}{authority}\r\n"))))
        .into();
    for user in ["user@", "user:pass@", "@", "a.example@"] {
        let request = session.request("GET", &format!("http://{user}{authority}/"), "");
        requests.push((format!("http://{user}…/"), request));
    }
    Refusal::SHOULD.answers(session, &requests)
}

/// The length of a request line that everybody should take.
const LINE_BYTES: usize = 8000;

/// The length of a target that some servers take, and of one that nobody needs.
const LONG_TARGETS: [usize; 2] = [200_000, 2_000_000];

fn req_15_long_targets(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("a short one", session.request("GET", "/", ""))?;
    let get = |session: &Session<'_>, bytes: usize| {
        session.request("GET", &format!("/?{}", "x".repeat(bytes - 2)), "")
    };
    let received = session.ask(get(session, LINE_BYTES - "GET  HTTP/1.1".len()))?;
    let held = matches!(&received, Received::Response(response) if is_served(response));
    session.should("a request line of 8,000 octets", "served", &received, held);
    let too_long = Refusal { statuses: &[414, 431], ..Refusal::MUST };
    for bytes in LONG_TARGETS {
        let received = session.ask(get(session, bytes))?;
        let served = matches!(&received, Received::Response(response) if is_served(response));
        if bytes == LONG_TARGETS[1] || !served {
            too_long.judge(session, &format!("a target of {bytes} octets"), &received);
            break;
        }
    }
    session.must_accept("a short one after it", session.request("GET", "/", ""))?;
    Ok(())
}

fn req_16_bytes_of_the_target(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("none of them", session.request("GET", "/?ab", ""))?;
    let controls = (0..0x20).filter(|byte| !b"\t\n\r".contains(byte)).chain([0x7f]).collect();
    let classes: [Vec<u8>; 3] = [controls, (0x80..=0xff).step_by(9).collect(), vec![b'#']];
    for class in classes {
        for (place, before) in [("path", "/a"), ("query", "/?a")] {
            let requests: Vec<Named> = class
                .iter()
                .map(|byte| {
                    let text = [b"GET ", before.as_bytes(), &[*byte], b"b HTTP/1.1"].concat();
                    (format!("0x{byte:02x} in the {place}"), line(session, text))
                })
                .collect();
            let so_far = session.cases.len();
            let missed = |case: &&Case| case.result != CaseResult::Pass;
            let all = each(session, &requests, |session, request| {
                // Two say enough of a class.
                if session.cases[so_far..].iter().filter(missed).count() == 2 {
                    return Ok(());
                }
                Refusal::SHOULD.answers(session, std::slice::from_ref(request))
            })?;
            if !all {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Requests in one go, to be cut: what they are, their bytes, their methods, and whether nothing
/// may come before the last byte.
type Cut = (&'static str, Vec<u8>, &'static [&'static str], bool);

fn req_17_any_segments(session: &mut Session<'_>) -> Result<(), Stop> {
    let path = if session.has("reflect") { "/reflect?a=b" } else { "/" };
    let lines = "X-A:  b c \r\nx-a: \r\nAccept: */*\r\n";
    let get = session.request("GET", path, lines);
    session.accept("in one segment", &get)?;
    let mut requests: Vec<Cut> = vec![
        ("GET", get.clone(), &["GET"], true),
        // It begins as the preface of HTTP/2 does.
        ("PROPFIND", session.request("PROPFIND", path, ""), &["PROPFIND"], true),
    ];
    if session.has("echo") {
        let post = session.request("POST", "/echo", "Content-Length: 5\r\n");
        let chunked = session.request("POST", "/echo", "Transfer-Encoding: chunked\r\n");
        let pipeline = [&post, &b"hello"[..], &chunked, b"3\r\nabc\r\n0\r\n\r\n", &get].concat();
        requests.push(("a pipeline", pipeline, &["POST", "POST", "GET"], false));
    }
    for (name, bytes, methods, whole) in requests {
        let Some(expected) = in_pieces(session, &bytes, methods, &[], false)? else { continue };
        let mut cuts: Vec<(String, Vec<usize>)> =
            vec![(format!("{name}, byte by byte"), (1..bytes.len()).collect())];
        if name == "GET" {
            let two = |at: usize| (format!("{name}, cut before byte {at}"), vec![at]);
            cuts.extend((1..bytes.len()).map(two));
        }
        let mut random = 0x2545_f491_u32;
        for round in 0..5 {
            let at = (1..bytes.len()).filter(|_| next(&mut random) % 8 == 0).collect();
            cuts.push((format!("{name}, random segments {round}"), at));
        }
        let mut missed = 0;
        for (name, cuts) in cuts {
            let got = in_pieces(session, &bytes, methods, &cuts, whole)?;
            let got = got.unwrap_or_else(|| "an answer before the end of the head".to_owned());
            session.check(&name, &expected, &got, got == expected);
            missed += usize::from(got != expected);
            if missed == 2 {
                break;
            }
        }
    }
    Ok(())
}

/// A number that looks random, the same in every run.
fn next(state: &mut u32) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    *state
}

/// Sends bytes, cut at these places, and gives what was answered, in words; none where that came
/// before the last byte, and must not.
fn in_pieces(
    session: &mut Session<'_>,
    bytes: &[u8],
    methods: &[&str],
    cuts: &[usize],
    whole: bool,
) -> Result<Option<String>, Stop> {
    let (mut client, mut from) = (session.connect()?, 0);
    // The pause only lets the server see a segment by itself: where it is too short for that,
    // a cut less is tried.
    let pause = session.patience().poll / 5;
    for at in cuts {
        client.send(&bytes[from..*at]);
        from = *at;
        if !client.is_silent(pause) && whole {
            return Ok(None);
        }
    }
    client.send(&bytes[from..]);
    let answers = methods.iter().map(|method| summary(session, &client.response(method)));
    Ok(Some(answers.collect::<Vec<_>>().join(", then ")))
}

/// A response without what may differ between two of them.
fn summary(session: &Session<'_>, received: &Received) -> String {
    let Received::Response(response) = received else { return received.to_string() };
    if !session.has("reflect") || response.status >= 400 {
        return received.to_string();
    }
    let Ok(mut json) = serde_json::from_slice::<Value>(&response.body) else {
        return format!("{received} {}", response.text());
    };
    json["peer"] = Value::Null;
    format!("{received} {json}")
}

fn req_18_preface_of_http2(session: &mut Session<'_>) -> Result<(), Stop> {
    if session.target.http2 {
        return Err(Stop::skip("speaks-http2", "the port speaks HTTP/2 as well"));
    }
    session.accept("GET", session.request("GET", "/", ""))?;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    let headers = b"\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84";
    let host = format!("PRI * HTTP/2.0\r\nHost: {}\r\n\r\nSM\r\n\r\n", session.target.authority);
    let get = session.request("GET", "/", "");
    let prefaces: [(&str, Vec<u8>); 4] = [
        ("the preface", preface.to_vec()),
        ("the preface and frames", [&preface[..], settings, headers].concat()),
        ("the preface, then a request", [&preface[..], &get].concat()),
        ("the preface with Host", host.into_bytes()),
    ];
    for (name, bytes) in prefaces {
        let mut client = session.connect()?;
        client.send(bytes);
        let (served, got, ended) = answers(&mut client, 3);
        // A server may as well say that it has no such method.
        let refused = ["405", "501"].iter().any(|status| got.starts_with(status));
        // An error page without a head, in the manner of HTTP/0.9, says no more than that.
        let no_head = got.starts_with("bytes that are no response");
        let result = match (served == 0 || (refused && served == 1) || no_head, ended) {
            (true, true) => CaseResult::Pass,
            (true, false) => CaseResult::Warn,
            (false, _) => CaseResult::Fail,
        };
        session.case(name, Kind::Refuse, result, "400, 505 or a close, and nothing served", &got);
    }
    Ok(())
}
