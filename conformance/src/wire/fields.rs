//! FLD: header fields.

use std::net::Ipv4Addr;

use super::control::fresh_id;
use super::control::has_news;
use super::request_line::{
    DELIMITERS, Named, Refusal, Seen, answers, check, each, head, is_served, persists,
};
use super::{Client, Received, Session, Stop, When, WireCheck};
use crate::verdict::{CaseResult, Kind};

pub(crate) const CHECKS: &[WireCheck] = &[
    check("FLD-01", fld_01_whitespace_before_the_colon),
    check("FLD-02", fld_02_folded_lines),
    check("FLD-03", fld_03_names),
    check("FLD-04", fld_04_bytes_of_values),
    check("FLD-05", fld_05_whitespace_before_the_first_line),
    check("FLD-06", fld_06_whitespace_around_values),
    check("FLD-07", fld_07_lines_with_one_name),
    check("FLD-08", fld_08_bytes_beyond_ascii),
    WireCheck { rule: "FLD-09", after: &[], when: When::Alone, check: fld_09_bounded_heads },
    check("FLD-10", fld_10_underscores),
    check("FLD-11", fld_11_forged_context),
];

/// A request with a good `Host` first, and then these lines, each ending with CRLF.
fn get(session: &Session<'_>, target: &str, lines: impl AsRef<[u8]>) -> Vec<u8> {
    let host = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n", session.target.authority);
    [host.as_bytes(), lines.as_ref(), b"\r\n"].concat()
}

/// As [`get`], as a [`Build`].
fn plain(session: &Session<'_>, target: &str, lines: &[u8]) -> Vec<u8> {
    get(session, target, lines)
}

/// As [`get`], with the lines before `Host`.
fn get_led(session: &Session<'_>, target: &str, lines: &[u8]) -> Vec<u8> {
    let host = format!("Host: {}\r\n\r\n", session.target.authority);
    [format!("GET {target} HTTP/1.1\r\n").as_bytes(), lines, host.as_bytes()].concat()
}

/// Makes a request for this target, with these lines.
type Build = fn(&Session<'_>, &str, &[u8]) -> Vec<u8>;

/// Requests for `/` with these lines, each named by what it is.
fn gets(session: &Session<'_>, named: &[(&str, &[u8])]) -> Vec<Named> {
    named.iter().map(|(name, lines)| ((*name).to_owned(), get(session, "/", lines))).collect()
}

/// Each of these lines has to be refused. Where the RFC would also have it repaired, and the
/// application sees that it was, or nobody can see it, it is a warning.
fn refuse_or_repair(
    session: &mut Session<'_>,
    named: &[(&str, &[u8])],
    unseen: CaseResult,
    request: Build,
    is_repaired: fn(&Seen) -> bool,
) -> Result<(), Stop> {
    let named: Vec<Named> =
        named.iter().map(|(name, lines)| ((*name).to_owned(), lines.to_vec())).collect();
    let unseen = Refusal { miss: unseen, ..Refusal::MUST };
    each(session, &named, |session, (name, lines)| {
        if session.has("reflect") {
            let seen = Seen::ask(session, request(session, "/reflect", lines))?;
            if seen.other().is_none() {
                let fair = is_repaired(&seen);
                let result = if fair { CaseResult::Warn } else { CaseResult::Fail };
                session.case(name, Kind::Refuse, result, "400, then a close", &seen);
                return Ok(());
            }
        }
        unseen.closes(session, &[(name.clone(), request(session, "/", lines))]).map(drop)
    })
    .map(drop)
}

fn fld_01_whitespace_before_the_colon(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("none", get(session, "/", "X-A: b\r\n"))?;
    let mut requests = gets(
        session,
        &[
            ("a space", b"X-A : b\r\n"),
            ("a tab", b"X-A\t: b\r\n"),
            ("two spaces", b"X-A  : b\r\n"),
            ("a space, and none behind the colon", b"X-A :b\r\n"),
            ("a space, before a good line", b"X-A : b\r\nX-B: c\r\n"),
            ("a space, behind a good line", b"X-B: c\r\nX-A : b\r\n"),
            ("Content-Length and a space", b"Content-Length : 0\r\n"),
            ("Transfer-Encoding and a space", b"Transfer-Encoding : identity\r\n"),
            ("Connection and a space", b"Connection : keep-alive\r\n"),
            ("a name with a space in it", b"X A: b\r\n"),
        ],
    );
    let host = format!("Host : {}\r\n", session.target.authority);
    requests.push(("Host and a space".to_owned(), head(host)));
    Refusal::MUST.closes_everywhere(session, &requests)
}

fn fld_02_folded_lines(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("none", get(session, "/", "X-A: b\r\nX-B: c\r\n"))?;
    let folded: &[(&str, &[u8])] = &[
        ("with a space", b"X-A: b\r\n c\r\n"),
        ("with a tab", b"X-A: b\r\n\tc\r\n"),
        ("with spaces", b"X-A: b\r\n   c\r\n"),
        ("before another line", b"X-A: b\r\n c\r\nX-B: d\r\n"),
        ("an empty value", b"X-A:\r\n b c\r\n"),
    ];
    let joined = |seen: &Seen| match seen.values("x-a")[..] {
        [value] => value.split([' ', '\t']).filter(|word| !word.is_empty()).eq(["b", "c"]),
        _ => false,
    };
    refuse_or_repair(session, folded, CaseResult::Warn, plain, joined)?;
    let like_a_field: &[(&str, &[u8])] = &[("like a field", b"X-A: b\r\n X-B: c\r\n")];
    refuse_or_repair(session, like_a_field, CaseResult::Warn, plain, |seen| {
        seen.values("x-b").is_empty()
            && matches!(seen.values("x-a")[..], [value] if value.ends_with(" X-B: c"))
    })?;
    let empty: &[(&str, &[u8])] = &[("a line of whitespace", b"X-A: b c\r\n \t\r\n")];
    refuse_or_repair(session, empty, CaseResult::Warn, plain, joined)
}

fn fld_03_names(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("a plain name", get(session, "/", "X-A: b\r\n"))?;
    session.must_accept("a token", get(session, "/", "X!#$%&'*+-.^`|~0a: b\r\n"))?;
    if session.has("raw-fields") {
        let seen = Seen::ask(session, get(session, "/reflect", "X!#$%&'*+-.^`|~0A: b\r\n"))?;
        let held = seen.values("x!#$%&'*+-.^`|~0a") == ["b"];
        let expected = "the application sees it";
        session.case("a token, seen", Kind::Accept, CaseResult::of(held), expected, &seen);
    }
    let bytes = DELIMITERS.iter().filter(|byte| **byte != b':');
    let mut requests: Vec<Named> = bytes
        .chain(b"\x00\x01\x0b\x0c\x1f\x7f\x80\xa0\xe9\xff")
        .map(|byte| {
            let lines = [b"X", &[*byte][..], b"A: b\r\n"].concat();
            (format!("X{}A", byte.escape_ascii()), get(session, "/", lines))
        })
        .collect();
    requests.extend(gets(
        session,
        &[
            ("an empty name", b": b\r\n"),
            ("an empty name and no value", b":\r\n"),
            ("an empty name, two colons", b":X-A: b\r\n"),
            ("no colon", b"X-A\r\n"),
            ("no colon, before a good line", b"X-A\r\nX-B: c\r\n"),
            ("a delimiter at the start", b"(X-A: b\r\n"),
            ("a delimiter at the end", b"X-A): b\r\n"),
            ("quotes", b"\"X-A\": b\r\n"),
            ("a byte beyond ASCII at the end", b"X-A\xe9: b\r\n"),
        ],
    ));
    let first = format!(": b\r\nHost: {}\r\n", session.target.authority);
    requests.push(("an empty name, first".to_owned(), head(first)));
    let (chars, others) = requests.split_at(DELIMITERS.len() + 9);
    if Refusal::MUST.closes(session, chars)? {
        Refusal::MUST.closes_everywhere(session, others)?;
    }
    Ok(())
}

fn fld_04_bytes_of_values(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("a plain value", get(session, "/", "X-A: b\r\n"))?;
    session.must_accept("a tab within", get(session, "/", "X-A: b\tc\r\n"))?;
    let repaired = |seen: &Seen| {
        let values = seen.values("x-a");
        // A space in its place, which is trimmed where it stands alone.
        values.len() == 1
            && !values[0].contains(['\0', '\r', '\n'])
            && (values[0].contains(' ') || values[0].is_empty())
    };
    let worst: &[(&str, &[u8])] = &[
        ("NUL within", b"X-A: b\0c\r\n"),
        ("NUL at the start", b"X-A: \0b c\r\n"),
        ("NUL at the end", b"X-A: b c\0\r\n"),
        ("NUL alone", b"X-A: \0\r\n"),
        ("CR within", b"X-A: b\rc\r\n"),
        ("CR, then a field", b"X-A: b\rX-B: c\r\n"),
        ("CR at the start", b"X-A: \rb c\r\n"),
        ("CR at the end", b"X-A: b c\r\r\n"),
        ("LF, then no field", b"X-A: b\nc\r\n"),
        ("LF, then words", b"X-A: b\nc d\r\n"),
    ];
    refuse_or_repair(session, worst, CaseResult::Fail, plain, repaired)?;
    let accepted = session.cases.iter().any(|case| case.result != CaseResult::Pass);
    let others = (1..0x20).chain([0x7f]).filter(|byte| !b"\t\n\r".contains(byte));
    let requests: Vec<Named> = others
        .map(|byte| {
            let lines = [b"X-A: b", &[byte][..], b"c\r\n"].concat();
            (format!("0x{byte:02x} within"), get(session, "/", lines))
        })
        .collect();
    Refusal::SHOULD.closes(session, &requests)?;
    // What some languages take for whitespace is no whitespace of HTTP.
    let ends = gets(
        session,
        &[
            ("VT at the start", b"X-A: \x0bb\r\n"),
            ("FF at the start", b"X-A: \x0cb\r\n"),
            ("VT at the end", b"X-A: b\x0b\r\n"),
            ("FF at the end", b"X-A: b\x0c\r\n"),
            ("0x1f at the end", b"X-A: b\x1f\r\n"),
        ],
    );
    Refusal::SHOULD.closes(session, &ends)?;
    let worst = gets(session, worst);
    // Where a repaired value is served, so is what stands behind it.
    if accepted { Ok(()) } else { Refusal::MUST.in_pipelines(session, &worst) }
}

fn fld_05_whitespace_before_the_first_line(session: &mut Session<'_>) -> Result<(), Stop> {
    let host = format!("Host: {}\r\n", session.target.authority);
    session.accept("none", head(format!("X-A: b\r\n{host}")))?;
    let led: &[(&str, &[u8])] = &[
        ("a space", b" X-A: b\r\n"),
        ("a tab", b"\tX-A: b\r\n"),
        ("spaces", b"   X-A: b\r\n"),
        ("a line without a colon", b" b\r\n"),
        ("a line of whitespace", b" \r\n"),
    ];
    // The RFC would also have the line ignored.
    refuse_or_repair(session, led, CaseResult::Warn, get_led, |seen| {
        seen.values("x-a").is_empty() && seen.values("host").len() == 1
    })?;
    let without = session.ask(head(""))?;
    let led = session.ask(head(format!(" {host}")))?;
    let served = |received: &Received| matches!(received, Received::Response(r) if is_served(r));
    let held = !served(&led) || served(&without);
    session.check("Host on that line alone", "refused, as without Host", &led, held);
    Ok(())
}

fn fld_06_whitespace_around_values(session: &mut Session<'_>) -> Result<(), Stop> {
    let authority = session.target.authority.clone();
    session.accept("one space", head(format!("Host: {authority}\r\n")))?;
    session.must_accept("no space", head(format!("Host:{authority}\r\n")))?;
    session.must_accept("space on both sides", head(format!("Host: \t{authority}\t \r\n")))?;
    for value in ["close", " \tclose", " close \t", "close "] {
        let mut client = session.connect()?;
        client.send(get(session, "/", format!("Connection:{value}\r\n")));
        let received = client.response("GET");
        let ended = client.ended();
        let name = format!("Connection:{}", value.escape_default());
        session.check(&name, "closed", ended, ended != super::Ended::Open);
        if !matches!(received, Received::Response(_)) || ended == super::Ended::Open {
            break;
        }
    }
    if !session.has("reflect") {
        return Ok(());
    }
    if session.has("echo") {
        let length = session.request("POST", "/echo", "Content-Length: \t 5 \t\r\n");
        let received = session.ask([&length[..], b"hello"].concat())?;
        let held = matches!(&received, Received::Response(response) if response.body == b"hello");
        session.check("Content-Length with whitespace around it", "5 bytes", &received, held);
    }
    for (sent, value) in [
        (" b", "b"),
        ("b", "b"),
        ("  b  ", "b"),
        ("\tb\t", "b"),
        (" \t b \t c \t ", "b \t c"),
        (" b  c   d ", "b  c   d"),
        (" \"  b  \" ", "\"  b  \""),
        ("", ""),
        (" \t ", ""),
        (" : ", ":"),
        (" b: c:d", "b: c:d"),
        (" , b ,", ", b ,"),
    ] {
        let seen = Seen::ask(session, get(session, "/reflect", format!("X-A:{sent}\r\n")))?;
        let values = seen.values("x-a");
        // An environment may not tell an empty field from none.
        let held =
            values == [value] || (value.is_empty() && seen.other().is_none() && values.is_empty());
        let name = format!("{:?}", format!("X-A:{sent}"));
        session.check(&name, &format!("the value {value:?}"), &seen, held);
    }
    Ok(())
}

/// How many lines with one name there are. Servers bound the number of all lines at 100 or so.
const SAME_NAME: usize = 30;

fn fld_07_lines_with_one_name(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("one line", get(session, "/reflect", "X-A: b\r\n"))?;
    let names = ["X-A", "x-a", "X-a"];
    let mixed = (0..SAME_NAME).map(|n| format!("{}: v{n}\r\nX-B: w{}\r\n", names[n % 3], n / 2));
    let many: Vec<String> = (0..SAME_NAME).map(|n| format!("v{n}")).collect();
    let cases: [(&str, String, Vec<String>); 5] = [
        ("two lines", "X-A: 2\r\nX-A: 1\r\n".to_owned(), vec!["2".into(), "1".into()]),
        ("the same line twice", "X-A: 1\r\n".repeat(2), vec!["1".into(); 2]),
        ("another between", "X-A: 1\r\nX-B: 3\r\nX-A: 2\r\n".into(), vec!["1".into(), "2".into()]),
        (
            "an empty one between",
            "X-A: 1\r\nX-A:\r\nX-A: 2\r\n".into(),
            vec!["1".into(), String::new(), "2".into()],
        ),
        ("many, between others", mixed.collect(), many),
    ];
    let raw = session.has("raw-fields");
    for (name, lines, expected) in cases {
        let seen = Seen::ask(session, get(session, "/reflect", lines))?;
        let values = seen.values("x-a");
        // Without field lines by themselves there is one list, which may leave empty members out.
        let list = |values: &[&str]| -> Vec<String> {
            let joined = values.join(",");
            let members = joined.split(',').map(str::trim).filter(|member| !member.is_empty());
            members.map(str::to_owned).collect()
        };
        let wanted: Vec<&str> = expected.iter().map(String::as_str).collect();
        let held = if raw { values == wanted } else { list(&values) == list(&wanted) };
        session.check(name, &format!("{expected:?}"), format!("{values:?}"), held);
    }
    Ok(())
}

fn fld_08_bytes_beyond_ascii(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("ASCII", get(session, "/", "X-A: b\r\n"))?;
    let all: Vec<u8> = (0x80..=0xff).collect();
    let cases: [(&str, &[u8]); 6] = [
        ("each of them", &all),
        ("UTF-8", "é€😀".as_bytes()),
        ("no UTF-8", b"b\xc3\x28\xff\xfe"),
        ("at both ends", b"\xa0b\x85"),
        ("at both ends of another", b"\x85\xe9 \xa0 \xe9\xa0"),
        ("one alone", b"\xff"),
    ];
    for (name, bytes) in cases {
        let lines = [b"X-A: ", bytes, b"\r\n"].concat();
        if !session.has("reflect") {
            session.must_accept(name, get(session, "/", lines))?;
            continue;
        }
        let latin1: String = bytes.iter().copied().map(char::from).collect();
        let seen = Seen::ask(session, get(session, "/reflect", lines))?;
        let result = CaseResult::of(seen.values("x-a") == [&*latin1]);
        session.case(name, Kind::Accept, result, "the same bytes, as Latin-1", &seen);
    }
    Ok(())
}

/// A field of the length that everybody takes, and one that nobody needs.
const FIELD_BYTES: [usize; 2] = [4096, 1_500_000];

/// What is sent of a head that never ends. Nobody takes so much.
const ENDLESS_BYTES: usize = 6_000_000;

/// How many connections send such a head at the same time, and by how many bytes the server may
/// grow meanwhile.
const ENDLESS: (usize, u64) = (12, 40_000_000);

fn fld_09_bounded_heads(session: &mut Session<'_>) -> Result<(), Stop> {
    let field = |bytes: usize| format!("X-A: {}\r\n", "x".repeat(bytes));
    let lines = |count: usize| -> String { (0..count).map(|n| format!("X-{n}: b\r\n")).collect() };
    session.accept("a short field", get(session, "/", field(1)))?;
    session.must_accept("a field of 4 KB", get(session, "/", field(FIELD_BYTES[0])))?;
    session.must_accept("50 fields", get(session, "/", lines(50)))?;
    if session.has("reflect") {
        whole(session, &field(FIELD_BYTES[0]), &lines(50))?;
    }
    let refusal = Refusal { statuses: &[431], ..Refusal::MUST };
    let many = get(session, "/", lines(10_000));
    Refusal { miss: CaseResult::Warn, ..refusal }
        .closes(session, &[("10,000 small fields".to_owned(), many)])?;
    let name = |what: &str, bytes: usize| format!("{what} of {bytes} bytes");
    refusal.closes(
        session,
        &[
            (name("a field", FIELD_BYTES[1]), get(session, "/", field(FIELD_BYTES[1]))),
            (name("small fields", FIELD_BYTES[1]), get(session, "/", lines(FIELD_BYTES[1] / 12))),
            (name("a field's name", FIELD_BYTES[1]), {
                let line = format!("X{}: b\r\n", "x".repeat(FIELD_BYTES[1]));
                get(session, "/", line)
            }),
        ],
    )?;
    let (ends_not, good) = (field(ENDLESS_BYTES), session.request("GET", "/", ""));
    let ends_not = format!("GET / HTTP/1.1\r\nHost: a\r\n{}", ends_not.trim_end());
    let lines_end_not = format!("GET / HTTP/1.1\r\nHost: a\r\n{}", lines(ENDLESS_BYTES / 12));
    for (name, bytes) in
        [("a field without an end", ends_not), ("fields without an end", lines_end_not)]
    {
        let mut client = session.connect()?;
        until_answered(&mut client, bytes.as_bytes());
        let during = session.ask(&good)?;
        session.refusal(name, &mut client, &[431], CaseResult::Fail);
        let held = matches!(&during, Received::Response(response) if is_served(response));
        session.check(&format!("another client, beside {name}"), "served", &during, held);
        // Without a bound there is no more to learn, and much to wait for.
        if session.cases.iter().any(|case| case.result == CaseResult::Fail) {
            return Ok(());
        }
    }
    session.must_accept("a small head after them", good)?;
    memory_stays(session)
}

/// Sends these bytes, or as many of them as come before an answer: a server that lingers behind it
/// would make the rest slow.
fn until_answered(client: &mut Client, bytes: &[u8]) {
    for piece in bytes.chunks(256 * 1024) {
        if has_news(client) || client.send(piece) < piece.len() {
            break;
        }
    }
}

/// What is accepted reaches the application: nothing is cut off in silence.
fn whole(session: &mut Session<'_>, field: &str, lines: &str) -> Result<(), Stop> {
    let seen = Seen::ask(session, get(session, "/reflect", field))?;
    let bytes: usize = seen.values("x-a").iter().map(|value| value.len()).sum();
    let held = bytes == FIELD_BYTES[0];
    session.check("a field of 4 KB, as the application sees it", "all of it", bytes, held);
    let seen = Seen::ask(session, get(session, "/reflect", lines))?;
    let count = (0..50).filter(|n| seen.values(&format!("x-{n}")) == ["b"]).count();
    session.check("50 fields, as the application sees them", "50", count, count == 50);
    Ok(())
}

/// Many heads without an end, all at once: the server must not hold all of that.
fn memory_stays(session: &mut Session<'_>) -> Result<(), Stop> {
    let memory = |session: &Session<'_>| {
        let instance = session.target.instance.as_ref()?;
        instance.lock().unwrap_or_else(std::sync::PoisonError::into_inner).memory()
    };
    let Some(before) = memory(session) else { return Ok(()) };
    let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {}", "x".repeat(ENDLESS_BYTES));
    let mut clients = Vec::new();
    for _ in 0..ENDLESS.0 {
        let mut client = session.connect()?;
        until_answered(&mut client, bytes.as_bytes());
        clients.push(client);
    }
    let grown = memory(session).unwrap_or(before).saturating_sub(before);
    let expected = format!("it grows by less than {} bytes", ENDLESS.1);
    let name = format!("memory, with {} heads without an end", ENDLESS.0);
    session.check(&name, &expected, format!("{grown} bytes"), grown < ENDLESS.1);
    Ok(())
}

fn fld_10_underscores(session: &mut Session<'_>) -> Result<(), Stop> {
    let good = session.request("GET", "/", "");
    let accepted = session.accept("no such field", &good)?;
    if persists(&accepted) {
        let id = fresh_id();
        let behind = session.request("GET", &format!("/?id={id}"), "");
        let swallows = format!("Content_Length: {}\r\n", behind.len());
        for (name, lines) in [
            ("Content_Length", &*swallows),
            ("Transfer_Encoding", "Transfer_Encoding: chunked\r\n"),
        ] {
            let mut client = session.connect()?;
            client.send([&get(session, "/", lines)[..], &behind].concat());
            let (served, got, _) = answers(&mut client, 2);
            // Whoever refuses such a field refuses the first request, and serves none.
            let held = served == 2 || (served == 0 && !got.starts_with("nothing"));
            let expected = "no framing: both requests served, or the first refused";
            session.check(name, expected, got, held);
        }
    }
    if !session.has("reflect") {
        return Ok(());
    }
    for (name, lines) in [
        ("alone", "X_Probe_A: forged\r\n"),
        ("behind the other", "X-Probe-A: real\r\nX_Probe_A: forged\r\n"),
        ("before the other", "X_Probe_A: forged\r\nX-Probe-A: real\r\n"),
        ("in part", "X-Probe_A: forged\r\nX-Probe-A: real\r\nX_Probe-A: forged\r\n"),
    ] {
        let seen = Seen::ask(session, get(session, "/reflect", lines))?;
        let refused = matches!(seen.other(), Some(Received::Response(r)) if r.status == 400);
        let (values, wanted) = (seen.values("x-probe-a"), lines.matches("real").count());
        let held = refused || (seen.other().is_none() && values == vec!["real"; wanted]);
        let expected = "x-probe-a is what came under that very name, or 400";
        session.check(name, expected, &seen, held);
    }
    Ok(())
}

/// Fields that proxies, gateways and tools use to say what a server says of itself.
const FORGED: &[(&str, &str)] = &[
    ("X-Forwarded-For", "192.0.2.7"),
    ("X_Forwarded_For", "192.0.2.7"),
    ("X-Forwarded-Proto", "https"),
    ("X_Forwarded_Proto", "https"),
    ("X-Forwarded-Protocol", "ssl"),
    ("X-Forwarded-Ssl", "on"),
    ("X-Forwarded-Scheme", "https"),
    ("X-Forwarded-Host", "forged.example"),
    ("X-Forwarded-Port", "443"),
    ("X-Forwarded-Prefix", "/forged"),
    ("Forwarded", "for=192.0.2.7;proto=https;host=forged.example"),
    ("X-Real-Ip", "192.0.2.7"),
    ("X-Client-Ip", "192.0.2.7"),
    ("True-Client-Ip", "192.0.2.7"),
    ("Cf-Connecting-Ip", "192.0.2.7"),
    ("Client-Ip", "192.0.2.7"),
    ("Remote-Addr", "192.0.2.7"),
    ("Remote_Addr", "192.0.2.7"),
    ("Remote-Host", "192.0.2.7"),
    ("X-Url-Scheme", "https"),
    ("X-Scheme", "https"),
    ("Front-End-Https", "on"),
    ("Https", "on"),
    ("Url-Scheme", "https"),
    ("Wsgi.url_scheme", "https"),
    ("Script-Name", "/forged"),
    ("Script_Name", "/forged"),
    ("Path-Info", "/forged"),
    ("Path_Info", "/forged"),
    ("Query-String", "forged=1"),
    ("Query_String", "forged=1"),
    ("Request-Method", "DELETE"),
    ("Request_Method", "DELETE"),
    ("Request-Uri", "/forged"),
    ("Server-Name", "forged.example"),
    ("Server-Protocol", "HTTP/1.0"),
    ("X-Http-Method-Override", "DELETE"),
    ("X-Method-Override", "DELETE"),
    ("X-Original-Url", "/forged"),
    ("X-Rewrite-Url", "/forged"),
];

/// Another address of this machine than the one that local clients have, and local proxies.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn fld_11_forged_context(session: &mut Session<'_>) -> Result<(), Stop> {
    let seen = Seen::ask(session, get(session, "/reflect?a=b", ""))?;
    let honest = context(&seen);
    let held = seen.other().is_none();
    session.case("none", Kind::Accept, CaseResult::of(held), "a description", &seen);
    if !held {
        return Err(Stop::blocked("twin-refused", format!("/reflect itself gave {seen}")));
    }
    let line = |(name, value): &(&str, &str)| format!("{name}: {value}\r\n");
    let all: String = FORGED.iter().map(line).collect();
    let each = FORGED.iter().map(|forged| (forged.0, line(forged)));
    for (name, lines) in each.chain([("all of them", all)]) {
        let request = get(session, "/reflect?a=b", lines);
        let seen = Seen::ask(session, &request)?;
        let believed = seen.other().is_none() && context(&seen) != honest;
        let result = match believed {
            true if is_believed_elsewhere(session, &request)? => CaseResult::Fail,
            // It believes a proxy on its own machine, for which it takes this client.
            true => CaseResult::Warn,
            // Refused is not believed.
            false => CaseResult::Pass,
        };
        session.case(name, Kind::Behave, result, &format!("{honest:?}"), &seen);
    }
    Ok(())
}

/// Whether the fields of a request are believed when it comes from an address that no local proxy
/// has; so they are, where that can't be tried because the server is on another machine.
fn is_believed_elsewhere(session: &mut Session<'_>, forged: &[u8]) -> Result<bool, Stop> {
    if !session.target.address.ip().is_loopback() {
        return Ok(true);
    }
    let plain = get(session, "/reflect?a=b", "");
    let mut contexts = Vec::new();
    for request in [&plain[..], forged] {
        let Some(mut client) = session.connect_from(ELSEWHERE) else { return Ok(false) };
        client.send(request);
        contexts.push(context(&Seen::of(client.response("GET"))));
    }
    Ok(contexts[0] != contexts[1])
}

/// What the server itself tells the application about a request.
fn context(seen: &Seen) -> Vec<String> {
    let members = ["method", "target", "path", "query", "version", "scheme"];
    let mut told: Vec<String> = members
        .iter()
        .map(|name| format!("{name}: {}", seen.text(name).unwrap_or("none")))
        .collect();
    // A connection's port is its own.
    let peer = seen.text("peer").map(|peer| peer.rsplit_once(':').map_or(peer, |(host, _)| host));
    told.push(format!("peer: {}", peer.unwrap_or("none")));
    told.push(format!("host: {:?}", seen.values("host")));
    told
}
