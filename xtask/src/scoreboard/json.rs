//! `Json`: a report, read with the standard library alone.

use std::collections::BTreeMap;

/// A value. Numbers are kept as they are written, since none is calculated with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// Reads one value.
    pub(crate) fn parse(text: &str) -> Result<Json, String> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value()?;
        reader.space();
        if reader.at == text.len() { Ok(value) } else { Err(reader.unexpected()) }
    }

    /// The text of a member, empty where there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        match self {
            Json::Object(members) => match members.get(name) {
                Some(Json::Text(text)) => text,
                _ => "",
            },
            _ => "",
        }
    }

    /// The elements of a member, none where there is no such list.
    pub(crate) fn list(&self, name: &str) -> &[Json] {
        match self {
            Json::Object(members) => match members.get(name) {
                Some(Json::List(elements)) => elements,
                _ => &[],
            },
            _ => &[],
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Result<Json, String> {
        self.space();
        match self.rest().bytes().next() {
            Some(b'{') => self.object(),
            Some(b'[') => self.list(),
            Some(b'"') => Ok(Json::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => {
                let end = self.rest().find(|c: char| !c.is_ascii_digit() && !"+-.eE".contains(c));
                let number = self.rest()[..end.unwrap_or(self.rest().len())].to_owned();
                self.at += number.len();
                Ok(Json::Number(number))
            }
            _ => {
                let words = [
                    ("null", Json::Null),
                    ("true", Json::Bool(true)),
                    ("false", Json::Bool(false)),
                ];
                let found = words.into_iter().find(|(word, _)| self.rest().starts_with(word));
                let (word, value) = found.ok_or_else(|| self.unexpected())?;
                self.at += word.len();
                Ok(value)
            }
        }
    }

    fn object(&mut self) -> Result<Json, String> {
        let mut members = BTreeMap::new();
        self.expect('{')?;
        if !self.is_next('}') {
            loop {
                self.space();
                let name = self.string()?;
                self.expect(':')?;
                members.insert(name, self.value()?);
                if !self.is_next(',') {
                    break;
                }
            }
            self.expect('}')?;
        }
        Ok(Json::Object(members))
    }

    fn list(&mut self) -> Result<Json, String> {
        let mut elements = Vec::new();
        self.expect('[')?;
        if !self.is_next(']') {
            loop {
                elements.push(self.value()?);
                if !self.is_next(',') {
                    break;
                }
            }
            self.expect(']')?;
        }
        Ok(Json::List(elements))
    }

    fn string(&mut self) -> Result<String, String> {
        self.expect('"')?;
        let mut text = String::new();
        loop {
            let end = self.rest().find(['"', '\\']).ok_or_else(|| self.unexpected())?;
            text.push_str(&self.rest()[..end]);
            self.at += end;
            if self.is_next('"') {
                return Ok(text);
            }
            text.push(self.escape()?);
        }
    }

    /// One escape. Half a surrogate pair is shown as a replacement.
    fn escape(&mut self) -> Result<char, String> {
        let kind = self.rest().chars().nth(1).ok_or_else(|| self.unexpected())?;
        self.at += 1 + kind.len_utf8();
        Ok(match kind {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                let digits = self.rest().get(..4).ok_or_else(|| self.unexpected())?;
                let code = u32::from_str_radix(digits, 16).map_err(|_| self.unexpected())?;
                self.at += 4;
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            other => other,
        })
    }

    /// Takes this character, behind white space, where it comes next.
    fn is_next(&mut self, wanted: char) -> bool {
        self.space();
        let is_next = self.rest().starts_with(wanted);
        self.at += if is_next { wanted.len_utf8() } else { 0 };
        is_next
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.is_next(wanted) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn unexpected(&self) -> String {
        let seen: String = self.rest().chars().take(20).collect();
        format!("not JSON at byte {}: {seen:?}", self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_all_kinds_are_read() {
        let text =
            "{ \"a\": [1, -2.5e3, true, false, null, {}, []],\n \"b\": \"x\\\"\\u00e4\\n\" }";
        let value = Json::parse(text).unwrap();
        assert_eq!(value.text("b"), "x\"ä\n");
        assert_eq!(value.list("a").len(), 7);
        assert_eq!(value.list("a")[1], Json::Number("-2.5e3".to_owned()));
    }

    #[test]
    fn space_within_a_text_is_kept() {
        assert_eq!(Json::parse("\"  a\\\\  \""), Ok(Json::Text("  a\\  ".to_owned())));
    }

    #[test]
    fn what_is_no_json_is_refused_and_shown() {
        for text in ["", "{", "[1,", "[1 2]", "{\"a\"}", "\"a", "nul", "1 1", "\"\\u12\""] {
            assert!(Json::parse(text).unwrap_err().contains("not JSON"), "{text}");
        }
    }
}
