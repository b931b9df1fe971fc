//! The page of `/websocket` in a real browser, on every host.

#[macro_use]
mod child;

use child::Served;
use gateway_tests::chromium;

on_each_host!(a_page_talks_over_a_websocket);

fn a_page_talks_over_a_websocket(host: &str) {
    let Some(browser) = chromium::find() else { return };
    let served = Served::start(host, &[]);
    let url = format!("http://{}/websocket?try", served.address);
    let document = chromium::document(&browser, &url);
    let (_, log) = document.split_once(r#"<ol id="log""#).expect("the page has a log");
    let (log, _) = log.split_once("</ol>").expect("the log has an end");
    let lines = log.split("<li class=\"").skip(1).filter_map(|line| line.split_once("</li>"));
    let lines: Vec<_> = lines.map(|(line, _)| line).collect();
    let expected = [
        r#"closed">open"#,
        r#"sent">hello, Grüße, 你好"#,
        r#"received">hello, Grüße, 你好"#,
        r#"sent">100000 bytes, the last is 7"#,
        r#"received">100000 bytes, the last is 7"#,
        r#"closed">closed by agreement: 4000 enough"#,
    ];
    assert_eq!(lines, expected, "{document}");
}
