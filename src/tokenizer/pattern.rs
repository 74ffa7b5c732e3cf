//! Translates patterns of `tokenizer.json` from the syntax of Oniguruma (Ruby's) to that of `fancy-regex`.
//!
//! The Python tokenizers match with Oniguruma. `fancy-regex` gives some of its syntax another meaning: `^` and `$` are
//! line anchors in Oniguruma, `(?m)` lets the dot match newlines, `{1,3}+` repeats a repetition. [`translate`] writes
//! each part so that both match the same text, and rejects by name what it cannot translate.

/// A pattern in the syntax of `fancy-regex`.
#[derive(Debug)]
pub struct Translated {
    /// The pattern.
    pub pattern: String,
    /// Whether it may match an empty text.
    pub may_be_empty: bool,
}

/// Translates `pattern`; the error names the part that cannot be translated.
pub fn translate(pattern: &str) -> Result<Translated, String> {
    let mut reader = Reader { chars: pattern.chars().collect(), at: 0 };
    let part = reader.alternation(Options::default(), 0)?;
    match reader.next() {
        None => Ok(Translated { pattern: part.text, may_be_empty: part.least == 0 }),
        Some(c) => Err(format!("'{c}' at character {} without its opening bracket", reader.at - 1)),
    }
}

/// Groups nested deeper are rejected, because the reader recurses.
const MOST_DEPTH: usize = 64;

/// What `\s` and the other set escapes match, as items of a class. Oniguruma's `\w` does not include zero-width
/// joiners.
const SETS: [(&str, &str); 12] = [
    ("alpha", r"\p{Alphabetic}"),
    ("digit", r"\d"),
    ("alnum", r"\p{Alphabetic}\d"),
    ("upper", r"\p{Uppercase}"),
    ("lower", r"\p{Lowercase}"),
    ("space", r"\s"),
    ("word", r"[\w--[\x{200c}\x{200d}]]"),
    ("xdigit", "0-9A-Fa-f"),
    ("ascii", r"\x{0}-\x{7f}"),
    ("cntrl", r"\p{Cc}"),
    ("any", r"\x{0}-\x{10ffff}"),
    ("blank", r"\p{Zs}\t"),
];

/// Index of `\w` in [`SETS`].
const WORD: usize = 6;

#[derive(Clone, Copy, Default)]
struct Options {
    /// `(?i)`
    any_case: bool,
    /// `(?m)`: the dot matches newlines.
    dot_all: bool,
}

/// A translated part of a pattern.
struct Part {
    text: String,
    /// The fewest characters that the part matches.
    least: usize,
}

struct Reader {
    chars: Vec<char>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += usize::from(c.is_some());
        c
    }

    fn takes(&mut self, text: &str) -> bool {
        let rest = &self.chars[self.at..];
        let is_next = text.chars().enumerate().all(|(n, c)| rest.get(n) == Some(&c));
        self.at += if is_next { text.chars().count() } else { 0 };
        is_next
    }

    /// Reads alternatives separated by `|`, up to the end of the enclosing group.
    fn alternation(&mut self, options: Options, depth: usize) -> Result<Part, String> {
        if depth > MOST_DEPTH {
            return Err(format!("groups in more than {MOST_DEPTH} levels"));
        }
        let mut whole = self.branch(options, depth)?;
        while self.takes("|") {
            let Part { text, least } = self.branch(options, depth)?;
            whole = Part { text: whole.text + "|" + &text, least: whole.least.min(least) };
        }
        Ok(whole)
    }

    fn branch(&mut self, options: Options, depth: usize) -> Result<Part, String> {
        let mut whole = Part { text: String::new(), least: 0 };
        // The previous letter, where it is an atom of its own: under `(?i)` some pairs of letters match one character.
        let mut letter = None;
        while let Some(c) = self.peek().filter(|c| !"|)".contains(*c)) {
            let start = self.at;
            let atom = self.atom(options, depth)?;
            let alone = self.at == start + 1 && c.is_ascii_alphabetic();
            let (atom, repeated) = self.repeated(atom)?;
            if options.any_case
                && let (Some(before), true) = (letter, alone)
            {
                refuse_ligature(before, c)?;
            }
            letter = (alone && !repeated).then_some(c);
            whole.text += &atom.text;
            whole.least = whole.least.saturating_add(atom.least);
        }
        Ok(whole)
    }

    /// Reads one atom, without its quantifiers.
    fn atom(&mut self, options: Options, depth: usize) -> Result<Part, String> {
        let one = |text: String| Ok(Part { text, least: 1 });
        let anchor = |text: &str| Ok(Part { text: text.into(), least: 0 });
        match self.next().expect("somebody looked") {
            '(' => self.group(options, depth),
            '[' => one(self.class(options, depth)?),
            '\\' => self.escape(options),
            '.' if options.dot_all => one("(?s:.)".into()),
            '.' => one(r"[^\n]".into()),
            // A line begins after each newline but the last of the text.
            '^' => anchor(r"(?:\A|(?<=\n)(?!\z))"),
            '$' => anchor(r"(?=\n|\z)"),
            c @ ('*' | '+' | '?') => Err(format!("'{c}' with nothing to repeat")),
            c => one(literal(c, options)?),
        }
    }

    /// Reads the rest of a group after its opening bracket. Groups are not numbered, because back-references are
    /// rejected.
    fn group(&mut self, options: Options, depth: usize) -> Result<Part, String> {
        if self.takes("?#") {
            while self.next().ok_or("a comment without an end")? != ')' {}
            return Ok(Part { text: String::new(), least: 0 });
        }
        for look in ["?=", "?!", "?<=", "?<!"] {
            if self.takes(look) {
                let inside = self.inside(options, depth)?;
                return Ok(Part { text: format!("({look}{})", inside.text), least: 0 });
            }
        }
        if self.takes("?>") {
            let inside = self.inside(options, depth)?;
            return Ok(Part { text: format!("(?>{})", inside.text), ..inside });
        }
        if self.takes("?<") {
            while self.next().ok_or("a group's name without an end")? != '>' {}
        } else if self.peek() == Some('?') && !self.takes("?:") {
            return self.option_group(options, depth);
        }
        let inside = self.inside(options, depth)?;
        Ok(Part { text: format!("(?:{})", inside.text), ..inside })
    }

    /// Reads `(?i:...)`, or `(?i)`, which applies up to the end of the enclosing group, later alternatives included.
    fn option_group(&mut self, mut options: Options, depth: usize) -> Result<Part, String> {
        let (start, mut on) = (self.at - 1, true);
        self.next();
        loop {
            match self.next() {
                Some('-') => on = false,
                Some('i') => options.any_case = on,
                Some('m') => options.dot_all = on,
                Some(end @ (':' | ')')) => {
                    let inside = match end {
                        ':' => self.inside(options, depth)?,
                        _ => self.alternation(options, depth + 1)?,
                    };
                    let case = if options.any_case { "i" } else { "-i" };
                    return Ok(Part { text: format!("(?{case}:{})", inside.text), ..inside });
                }
                _ => return Err(self.named("the group", start)),
            }
        }
    }

    fn inside(&mut self, options: Options, depth: usize) -> Result<Part, String> {
        let inside = self.alternation(options, depth + 1)?;
        if self.takes(")") { Ok(inside) } else { Err("a group without an end".into()) }
    }

    /// Reads the quantifiers of `atom`. Returns the repeated atom, and whether there was a quantifier.
    fn repeated(&mut self, mut atom: Part) -> Result<(Part, bool), String> {
        let mut repeated = false;
        loop {
            let (text, least) = if let Some(sign) = self.peek().filter(|c| "*+?".contains(*c)) {
                self.next();
                let kind = self.peek().filter(|c| "?+".contains(*c));
                self.at += usize::from(kind.is_some());
                (format!("{sign}{}", kind.map(String::from).unwrap_or_default()), usize::from(sign == '+'))
            } else if let Some((least, most)) = self.interval()? {
                let text = match most {
                    Some(most) if most == least => format!("{{{least}}}"),
                    Some(most) => format!("{{{least},{most}}}"),
                    None => format!("{{{least},}}"),
                };
                // A fixed number has no lazy form; a '+' after it repeats the repetition.
                let lazy = most != Some(least) && self.takes("?");
                (if lazy { text + "?" } else { text }, least)
            } else {
                return Ok((atom, repeated));
            };
            let again = if repeated { format!("(?:{})", atom.text) } else { atom.text };
            atom = Part { text: again + &text, least: atom.least.saturating_mul(least) };
            repeated = true;
        }
    }

    /// Reads `{2}`, `{2,}`, `{,3}` or `{2,3}`; any other brace is a literal character.
    fn interval(&mut self) -> Result<Option<(usize, Option<usize>)>, String> {
        let start = self.at;
        if !self.takes("{") {
            return Ok(None);
        }
        let least = self.number();
        let comma = self.takes(",");
        let most = if comma { self.number() } else { least };
        let is_one = self.takes("}") && (least.is_some() || most.is_some());
        if !is_one {
            self.at = start;
            return Ok(None);
        }
        let least = least.unwrap_or(0);
        match most.is_some_and(|most| most < least || most > 1000) || least > 1000 {
            true => Err(self.named("the repetition", start)),
            false => Ok(Some((least, most))),
        }
    }

    fn number(&mut self) -> Option<usize> {
        let mut number = None;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            self.at += 1;
            number = Some(number.unwrap_or(0usize).saturating_mul(10).saturating_add(digit as usize));
        }
        number
    }

    /// Reads an escape outside of a class, after its backslash.
    fn escape(&mut self, options: Options) -> Result<Part, String> {
        let word = format!("[{}]", SETS[WORD].1);
        let (text, least) = match self.peek() {
            Some('A') => (r"\A".into(), 0),
            Some('z') => (r"\z".into(), 0),
            Some('Z') => (r"(?=\n?\z)".into(), 0),
            Some('b') => (format!("(?:(?<={word})(?!{word})|(?<!{word})(?={word}))"), 0),
            Some('B') => (format!("(?:(?<={word})(?={word})|(?<!{word})(?!{word}))"), 0),
            Some('R') => (r"(?>\r\n|[\n-\r\x{85}\x{2028}\x{2029}])".into(), 1),
            Some('N') => (r"[^\n]".into(), 1),
            Some('O') => ("(?s:.)".into(), 1),
            _ => {
                return Ok(match self.item(options)? {
                    Item::Char(c) => Part { text: literal(c, options)?, least: 1 },
                    Item::Set(set) => Part { text: format!("[{set}]"), least: 1 },
                });
            }
        };
        self.next();
        Ok(Part { text, least })
    }

    /// Reads an escape that may be in a class, after its backslash.
    fn item(&mut self, options: Options) -> Result<Item, String> {
        let start = self.at - 1;
        let c = self.next().ok_or("a backslash at the end")?;
        let set = |name: &str, not: bool| {
            if options.any_case {
                return Err(format!("the set \\{c} in (?i)"));
            }
            Ok(Item::Set(named_set(name, not).expect("it is in the list")))
        };
        match c {
            'd' | 'D' => set("digit", c == 'D'),
            's' | 'S' => set("space", c == 'S'),
            'w' | 'W' => set("word", c == 'W'),
            'h' | 'H' => set("xdigit", c == 'H'),
            'p' | 'P' if self.takes("{") => {
                let not = (c == 'P') != self.takes("^");
                let rest = &self.chars[self.at..];
                let length = rest.iter().position(|&c| c == '}').ok_or("a property without an end")?;
                let name: String = rest[..length].iter().collect();
                self.at += length + 1;
                self.property(&name, not, start, options)
            }
            'n' => Ok(Item::Char('\n')),
            't' => Ok(Item::Char('\t')),
            'r' => Ok(Item::Char('\r')),
            'f' => Ok(Item::Char('\u{c}')),
            'v' => Ok(Item::Char('\u{b}')),
            'a' => Ok(Item::Char('\u{7}')),
            'e' => Ok(Item::Char('\u{1b}')),
            'x' if self.takes("{") => {
                let code = self.hex(8).filter(|_| self.takes("}"));
                code.and_then(char::from_u32).map(Item::Char).ok_or_else(|| self.named("the character", start))
            }
            // Two hexadecimal digits are a byte; bytes above 7F are parts of characters.
            'x' => {
                let code = self.hex(2).filter(|code| *code < 0x80).and_then(char::from_u32);
                code.map(Item::Char).ok_or_else(|| self.named("the byte", start))
            }
            'u' => {
                let code = self.hex(4).filter(|_| self.at == start + 6).and_then(char::from_u32);
                code.map(Item::Char).ok_or_else(|| self.named("the character", start))
            }
            c if c.is_alphanumeric() => Err(self.named("the escape", start)),
            c => Ok(Item::Char(c)),
        }
    }

    fn hex(&mut self, most: usize) -> Option<u32> {
        let digits = self.chars[self.at..].iter().take(most).take_while(|c| c.is_ascii_hexdigit());
        let digits: String = digits.collect();
        self.at += digits.len();
        u32::from_str_radix(&digits, 16).ok()
    }

    fn property(&self, name: &str, not: bool, start: usize, options: Options) -> Result<Item, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_- ".contains(c);
        if options.any_case || name.is_empty() || !name.chars().all(plain) {
            return Err(self.named("the property", start));
        }
        Ok(Item::Set(match named_set(&name.to_ascii_lowercase(), not) {
            Some(set) => set,
            None if ["graph", "print", "punct"].contains(&name.to_ascii_lowercase().as_str()) => {
                return Err(self.named("the property", start));
            }
            None => format!(r"\{}{{{name}}}", if not { 'P' } else { 'p' }),
        }))
    }

    /// Reads a class after its opening bracket. Returns it as `fancy-regex` writes it.
    fn class(&mut self, options: Options, depth: usize) -> Result<String, String> {
        if depth > MOST_DEPTH {
            return Err(format!("classes in more than {MOST_DEPTH} levels"));
        }
        let start = self.at - 1;
        let mut text = String::from("[");
        if self.takes("^") {
            if options.any_case {
                return Err("a class that begins with '^' in (?i)".into());
            }
            text.push('^');
        }
        let mut first = true;
        loop {
            let c = self.next().ok_or_else(|| self.named("the class without an end", start))?;
            let is_first = std::mem::take(&mut first);
            let item = match c {
                ']' if !is_first => return Ok(text + "]"),
                '[' if self.takes(":") => Item::Set(self.posix(options, start)?),
                '[' => Item::Set(self.class(options, depth + 1)?),
                '&' if self.takes("&") => Item::Set("&&".into()),
                '\\' if self.takes("b") => Item::Char('\u{8}'),
                '\\' => self.item(options)?,
                c => Item::Char(c),
            };
            match item {
                Item::Set(set) => text += &set,
                Item::Char(from) => {
                    text += &literal(from, options)?;
                    let after = (self.chars.get(self.at), self.chars.get(self.at + 1));
                    if let (Some('-'), Some(&to)) = after
                        && to != ']'
                    {
                        self.at += 2;
                        let to = match to {
                            '\\' if self.takes("b") => Item::Char('\u{8}'),
                            '\\' => self.item(options)?,
                            '[' => return Err(self.named("the class", start)),
                            to => Item::Char(to),
                        };
                        let Item::Char(to) = to else { return Err(self.named("the range in the class", start)) };
                        if to < from || (options.any_case && !to.is_ascii()) {
                            return Err(self.named("the range in the class", start));
                        }
                        text += "-";
                        text += &literal(to, options)?;
                    }
                }
            }
        }
    }

    /// Reads the rest of `[:alpha:]` and the like, after `[:`.
    fn posix(&mut self, options: Options, start: usize) -> Result<String, String> {
        let not = self.takes("^");
        let rest = &self.chars[self.at..];
        let name: String = rest.iter().take_while(|c| c.is_ascii_lowercase()).collect();
        self.at += name.len();
        let set = named_set(&name, not).filter(|_| self.takes(":]") && !options.any_case && name != "any");
        set.ok_or_else(|| self.named("the set in the class", start))
    }

    /// An error: `what`, and the pattern from `start` to here.
    fn named(&self, what: &str, start: usize) -> String {
        let text: String = self.chars[start..self.at].iter().take(40).collect();
        format!("{what} {text}")
    }
}

/// An item of a class.
enum Item {
    Char(char),
    /// Several characters, as they are written in a class.
    Set(String),
}

fn named_set(name: &str, not: bool) -> Option<String> {
    let (_, set) = SETS.iter().find(|(known, _)| *known == name)?;
    Some(if not { format!("[^{set}]") } else { format!("[{set}]") })
}

/// One literal character. Under `(?i)` Oniguruma lets some letters match two others, which `fancy-regex` cannot do.
fn literal(c: char, options: Options) -> Result<String, String> {
    match options.any_case && !c.is_ascii() && c.is_alphabetic() {
        true => Err(format!("'{c}' in (?i)")),
        false => Ok(fancy_regex::escape(&c.to_string()).into_owned()),
    }
}

/// Rejects two letters that Oniguruma under `(?i)` also matches with one character: ß, and the ligatures of f and t.
fn refuse_ligature(a: char, b: char) -> Result<(), String> {
    let pair = [a, b].map(|c| c.to_ascii_lowercase());
    match [['s', 's'], ['s', 't'], ['f', 'f'], ['f', 'i'], ['f', 'l']].contains(&pair) {
        true => Err(format!("'{a}{b}' in (?i)")),
        false => Ok(()),
    }
}
