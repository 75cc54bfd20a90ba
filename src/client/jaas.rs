//! `sasl.jaas.config`: a login module, a flag, options, a semicolon.
//!
//! The words are cut as Kafka's parser cuts them: values in double or single quotes with the
//! escapes of Java, or bare up to a blank, `=`, `;`, a quote or `/`, which begins a comment. More
//! bare characters are taken than by some versions of Kafka, and a quote that is not closed is a
//! mistake here where those take the end of the line for it.

use std::ops::Range;

/// A login module with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jaas {
    pub module: Word,
    pub flag: Word,
    /// In the order written, repeated ones included: the last counts.
    pub options: Vec<(Word, Word)>,
}

impl Jaas {
    /// The value that counts.
    pub fn option(&self, name: &str) -> Option<&Word> {
        let options = self.options.iter().rev();
        options
            .clone()
            .find(|(key, _)| key.text == name)
            .map(|(_, value)| value)
    }
}

/// A word and where it is written, quotes included.
#[derive(Clone, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    pub range: Range<usize>,
}

impl std::fmt::Debug for Word {
    /// Without the text, which may be a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Word({:?})", self.range)
    }
}

/// Why a text is no login module, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JaasError {
    pub range: Range<usize>,
    pub problem: Problem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    Empty,
    NoFlag,
    BadFlag,
    NoOptionName,
    NoEquals,
    NoValue,
    UnclosedQuote,
    NoSemicolon,
    /// `/` outside of quotes began a comment that swallowed the rest.
    Comment,
    SecondModule,
}

impl Problem {
    /// What is wrong, to stand beside the place.
    pub fn label(self) -> &'static str {
        match self {
            Self::Empty => "there is no login module",
            Self::NoFlag => "`required` is missing after the login module",
            Self::BadFlag => "this has to be `required`",
            Self::NoOptionName => "the name of an option is missing",
            Self::NoEquals => "`=` is missing after the name of an option",
            Self::NoValue => "a value is missing",
            Self::UnclosedQuote => "this quote is not closed",
            Self::NoSemicolon => "a `;` has to end it",
            Self::Comment => "`/` begins a comment here",
            Self::SecondModule => "there is a second login module",
        }
    }

    pub fn help(self) -> &'static str {
        match self {
            Self::Comment => "put the value in quotes",
            Self::SecondModule => "one login module ends with the first `;`",
            _ => "write LoginModule required username=\"NAME\" password=\"…\";",
        }
    }
}

/// A login module with these options, as Kafka's parser reads it again.
pub fn written(module: &str, options: &[(&str, &str)]) -> String {
    let mut text = format!("{module} required");
    for (name, value) in options {
        text.push_str(&format!(" {name}=\""));
        for char in value.chars() {
            match char {
                '"' | '\\' => text.extend(['\\', char]),
                // A quote does not go on in the next line.
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                _ => text.push(char),
            }
        }
        text.push('"');
    }
    text.push(';');
    text
}

/// Reads the one login module of a text.
///
/// # Errors
/// The first thing that makes it none.
pub fn parse(text: &str) -> Result<Jaas, JaasError> {
    let mut tokens = Tokens::new(text);
    let module = match tokens.next()? {
        Some(Token::Word(word)) if !word.text.is_empty() => word,
        Some(token) => return fail(token.range(), Problem::Empty),
        None => return fail(0..text.len(), Problem::Empty),
    };
    let flag = match tokens.next()? {
        Some(Token::Word(word)) => word,
        Some(token) => return fail(token.range(), Problem::NoFlag),
        None => return fail(module.range, Problem::NoFlag),
    };
    if !["required", "requisite", "sufficient", "optional"]
        .contains(&flag.text.to_lowercase().as_str())
    {
        return fail(flag.range, Problem::BadFlag);
    }
    let mut options = Vec::new();
    loop {
        let name = match tokens.next()? {
            Some(Token::Semicolon(_)) => break,
            Some(Token::Word(word)) => word,
            Some(token) => return fail(token.range(), Problem::NoOptionName),
            None => return Err(tokens.ended_early(Problem::NoSemicolon)),
        };
        match tokens.next()? {
            Some(Token::Equals(_)) => {}
            Some(token) => return fail(token.range(), Problem::NoEquals),
            None => return Err(tokens.ended_early(Problem::NoEquals)),
        }
        match tokens.next()? {
            Some(Token::Word(value)) => options.push((name, value)),
            Some(token) => return fail(token.range(), Problem::NoValue),
            None => return Err(tokens.ended_early(Problem::NoValue)),
        }
    }
    match tokens.next()? {
        None => Ok(Jaas {
            module,
            flag,
            options,
        }),
        Some(token) => fail(token.range(), Problem::SecondModule),
    }
}

fn fail<T>(range: Range<usize>, problem: Problem) -> Result<T, JaasError> {
    Err(JaasError { range, problem })
}

#[derive(Debug)]
enum Token {
    Word(Word),
    Equals(usize),
    Semicolon(usize),
}

impl Token {
    fn range(&self) -> Range<usize> {
        match self {
            Self::Word(word) => word.range.clone(),
            Self::Equals(at) | Self::Semicolon(at) => *at..*at + 1,
        }
    }
}

struct Tokens<'t> {
    text: &'t str,
    at: usize,
    /// The last comment that a single `/` began.
    comment: Option<Range<usize>>,
}

impl<'t> Tokens<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            at: 0,
            comment: None,
        }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn next(&mut self) -> Result<Option<Token>, JaasError> {
        loop {
            let rest = self.rest();
            let Some(char) = rest.chars().next() else {
                return Ok(None);
            };
            let start = self.at;
            match char {
                '\u{0}'..=' ' => self.at += 1,
                '/' if rest.starts_with("/*") => {
                    let end = rest[2..].find("*/").map_or(rest.len(), |end| end + 4);
                    self.at += end;
                }
                '/' => {
                    self.at += rest.find(['\n', '\r']).unwrap_or(rest.len());
                    if !rest.starts_with("//") {
                        self.comment = Some(start..start + 1);
                    }
                }
                '=' => {
                    self.at += 1;
                    return Ok(Some(Token::Equals(start)));
                }
                ';' => {
                    self.at += 1;
                    return Ok(Some(Token::Semicolon(start)));
                }
                '"' | '\'' => return self.quoted(char).map(Some),
                _ => {
                    let is_end =
                        |char| matches!(char, '\u{0}'..=' ' | '/' | '=' | ';' | '"' | '\'');
                    self.at += rest.find(is_end).unwrap_or(rest.len());
                    return Ok(Some(Token::Word(Word {
                        text: self.text[start..self.at].to_owned(),
                        range: start..self.at,
                    })));
                }
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Token, JaasError> {
        let start = self.at;
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1).peekable();
        while let Some((at, char)) = chars.next() {
            match char {
                _ if char == quote => {
                    self.at = start + at + 1;
                    return Ok(Token::Word(Word {
                        text,
                        range: start..self.at,
                    }));
                }
                '\n' | '\r' => break,
                '\\' => {
                    let Some((_, escaped)) = chars.next() else {
                        break;
                    };
                    text.push(match escaped {
                        'a' => '\u{7}',
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        'v' => '\u{b}',
                        '0'..='7' => {
                            // At most \377.
                            let most = if escaped <= '3' { 2 } else { 1 };
                            let mut code = u32::from(escaped) - u32::from('0');
                            for _ in 0..most {
                                let Some((_, digit @ '0'..='7')) = chars.peek().copied() else {
                                    break;
                                };
                                chars.next();
                                code = code * 8 + (u32::from(digit) - u32::from('0'));
                            }
                            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
                        }
                        other => other,
                    });
                }
                other => text.push(other),
            }
        }
        fail(start..start + 1, Problem::UnclosedQuote)
    }

    /// The end came too soon, perhaps because of a comment that nobody meant.
    fn ended_early(&self, problem: Problem) -> JaasError {
        match &self.comment {
            Some(range) => JaasError {
                range: range.clone(),
                problem: Problem::Comment,
            },
            None => {
                let end = self.text.trim_end().len();
                JaasError {
                    range: end..end,
                    problem,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Vec<(String, String)> {
        let jaas = parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        assert_eq!(jaas.module.text, "org.X");
        jaas.options
            .into_iter()
            .map(|(name, value)| (name.text, value.text))
            .collect()
    }

    /// What Kafka 3.9.1 and 4.3.1 make of the same texts, but for the last three, which they refuse.
    #[test]
    fn a_login_module_means_what_it_means_to_kafka() {
        for (text, expected) in [
            (
                "org.X required username='a' password='b';",
                &[("username", "a"), ("password", "b")][..],
            ),
            (
                "org.X REQUIRED username=\"a\" password=\"b\";",
                &[("username", "a"), ("password", "b")],
            ),
            (
                "org.X required username=a password=b;",
                &[("username", "a"), ("password", "b")],
            ),
            (
                "org.X required a=\"x\\\"y\\n\\101\\477\\q\";",
                &[("a", "x\"y\nA'7q")],
            ),
            ("org.X required a=\"x/y\"; ", &[("a", "x/y")]),
            ("org.X required a=x/y\n;", &[("a", "x")]),
            ("org.X required;", &[]),
            ("org.X required \"a\"='b';", &[("a", "b")]),
            ("org.X required a=b\"c\"=d;", &[("a", "b"), ("c", "d")]),
            ("org.X required /* c */ a=b // x\n;", &[("a", "b")]),
            ("org.X required a=b a=c;", &[("a", "b"), ("a", "c")]),
            (
                "org.X required a=grün b=\u{20ac};",
                &[("a", "grün"), ("b", "€")],
            ),
            (
                "org.X required a=\"it's\" b='say \"x\"';",
                &[("a", "it's"), ("b", "say \"x\"")],
            ),
            ("org.X required a=\"\" b='';", &[("a", ""), ("b", "")]),
            (
                "\n  \"org.X\"\n \"optional\" a=\"b\"c=\"d\";\n",
                &[("a", "b"), ("c", "d")],
            ),
            ("org.X required a=1 b=2.5;", &[("a", "1"), ("b", "2.5")]),
            ("org.X required a={x};", &[("a", "{x}")]),
            ("org.X required a=p#q!$;", &[("a", "p#q!$")]),
        ] {
            let expected: Vec<_> = expected
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(options(text), expected, "{text}");
        }
    }

    #[test]
    fn a_mistake_is_found_where_it_is() {
        for (text, range, problem) in [
            ("", 0..0, Problem::Empty),
            (";", 0..1, Problem::Empty),
            ("org.X", 0..5, Problem::NoFlag),
            ("org.X;", 5..6, Problem::NoFlag),
            ("org.X maybe;", 6..11, Problem::BadFlag),
            ("org.X required a=b", 18..18, Problem::NoSemicolon),
            ("org.X required a=b \n", 18..18, Problem::NoSemicolon),
            ("org.X required a;", 16..17, Problem::NoEquals),
            ("org.X required a=;", 17..18, Problem::NoValue),
            ("org.X required a=", 17..17, Problem::NoValue),
            ("org.X required =b;", 15..16, Problem::NoOptionName),
            ("org.X required a=b , c=d;", 21..22, Problem::NoEquals),
            ("org.X required a=\"b;", 17..18, Problem::UnclosedQuote),
            ("org.X required a='b\n';", 17..18, Problem::UnclosedQuote),
            ("org.X required a=\"b\\", 17..18, Problem::UnclosedQuote),
            ("org.X required a=x/y;", 18..19, Problem::Comment),
            ("org.X required a=b;;", 19..20, Problem::SecondModule),
            (
                "org.X required; org.Y required;",
                16..21,
                Problem::SecondModule,
            ),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!((error.range, error.problem), (range, problem), "{text}");
        }
    }

    #[test]
    fn the_last_of_repeated_options_counts_and_none_is_shown() {
        let jaas = parse("org.X required a=hunter1 a=hunter2;").expect("legal");
        assert_eq!(
            jaas.option("a").map(|word| word.text.as_str()),
            Some("hunter2")
        );
        assert!(!format!("{jaas:?}").contains("hunter"));
    }

    proptest::proptest! {
        /// Without this, a password with a quote in it would be another one for the broker that it is given to.
        #[test]
        fn what_is_written_is_read_again(user in "\\PC*", password in "(?s).*") {
            let text = written("org.X", &[("username", &user), ("password", &password)]);
            let expected = [("username", user), ("password", password)];
            let expected = expected.map(|(name, value)| (name.to_owned(), value));
            proptest::prop_assert_eq!(options(&text), expected);
        }
    }
}
