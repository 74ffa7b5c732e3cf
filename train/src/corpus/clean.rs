//! Converts markup to plain text.

/// The plain text of an HTML page, without scripts, styles, heads and navigation. Each block becomes a line.
pub fn html(page: &str) -> String {
    const HIDDEN: [&str; 9] = ["head", "script", "style", "nav", "header", "footer", "aside", "noscript", "pre"];
    const BLOCKS: &str = " p div br li ul ol tr table h1 h2 h3 h4 h5 h6 pre dt dd dl section td th blockquote ";
    markup(page, &HIDDEN, BLOCKS)
}

/// The plain text of a DocBook file, without metadata, listings and tables. Each block becomes a line.
pub fn docbook(page: &str) -> String {
    const HIDDEN: [&str; 14] = [
        "bookinfo",
        "code",
        "articleinfo",
        "info",
        "sect1info",
        "sect2info",
        "programlisting",
        "screen",
        "informaltable",
        "mediaobject",
        "appendix",
        "indexterm",
        "keycombo",
        "remark",
    ];
    const BLOCKS: &str = " para simpara title listitem term row entry caption sect1 sect2 sect3 book chapter \
                          varlistentry p item steps list itemizedlist orderedlist variablelist note tip \
                         warning important ";
    let body = page.find("]>").map_or(page, |at| &page[at + 2..]);
    let plain = markup(body, &HIDDEN, BLOCKS);
    named_words(&plain)
}

/// Replaces entities that stand for a program's name by that name.
fn named_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).collect();
        if !name.is_empty() && rest[name.len()..].starts_with(';') {
            rest = &rest[name.len() + 1..];
            let mut letters = name.chars();
            match name.as_str() {
                "kde" | "gui" | "url" | "pdf" | "html" => out.push_str(&name.to_uppercase()),
                _ if name.starts_with('k') && name.len() > 3 => {
                    let mut rest = letters.by_ref().skip(1);
                    out.push('K');
                    out.extend(rest.next().map(|c| c.to_ascii_uppercase()));
                    out.extend(rest);
                }
                _ => {
                    out.extend(letters.next().map(|c| c.to_ascii_uppercase()));
                    out.push_str(letters.as_str());
                }
            }
        } else {
            out.push('&');
        }
    }
    out + rest
}

/// Removes the tags within a text.
pub fn inline_markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        let tag = rest[1..].starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '_'));
        match rest.find('>').filter(|_| tag) {
            Some(close) => {
                let name = &rest[1..close];
                if name.starts_with("br") || name.starts_with("/p") || name.starts_with("/h") {
                    out.push('\n');
                }
                rest = &rest[close + 1..];
            }
            None => {
                out.push('<');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    named_words(&entities(&out))
}

/// The plain text of a reStructuredText file, without directives, underlines, tables and field lists. Roles lose their
/// markup.
pub fn rst(page: &str) -> String {
    let mut out = String::new();
    for line in page.lines() {
        let start = line.trim_start();
        let rule = start.len() > 2 && start.chars().all(|c| "=-~^\"*+#.`:| ".contains(c));
        if rule || start.starts_with("..") || start.starts_with('|') || start.starts_with('+') {
            continue;
        }
        let field = start.starts_with(':') && start[1..].contains(": ") && !start.starts_with(":ref:");
        // Listings are indented further than lists.
        if field || line.starts_with("\t\t") || line.starts_with("        ") {
            continue;
        }
        out.push_str(&rst_inline(line.trim_end().trim_end_matches(':')));
        if line.ends_with(':') {
            out.push(':');
        }
        out.push('\n');
    }
    unwrap(&out)
}

/// Removes the markup of roles (a text with its target between angle brackets) and of literals in reStructuredText.
fn rst_inline(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('`') {
        let mut before = &rest[..at];
        if before.ends_with(':')
            && let Some(start) = before[..before.len() - 1].rfind(':')
            && before[start + 1..before.len() - 1].chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        {
            before = &before[..start];
        }
        out.push_str(before);
        rest = rest[at..].trim_start_matches('`');
        let end = rest.find('`').unwrap_or(rest.len());
        let inner = &rest[..end];
        out.push_str(inner.split_once(" <").map_or(inner, |(text, _)| text));
        rest = rest[end..].trim_start_matches('`').trim_start_matches('_');
    }
    out.push_str(rest);
    out.replace("**", "").replace("\\", "")
}

/// The plain text of Perl's POD, without commands and listings. `C<code>` loses its markup.
pub fn pod(page: &str) -> String {
    let mut out = String::new();
    for paragraph in page.split("\n\n") {
        if paragraph.starts_with([' ', '\t']) {
            continue;
        }
        let text = match paragraph.strip_prefix('=') {
            Some(command) if command.starts_with("head") || command.starts_with("item") => {
                command.split_once(' ').map_or("", |(_, rest)| rest)
            }
            Some(_) => "",
            None => paragraph,
        };
        out.push_str(&pod_inline(text));
        out.push_str("\n\n");
    }
    unwrap(&out)
}

fn pod_inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let characters: Vec<char> = text.chars().collect();
    let mut closers: Vec<usize> = Vec::new();
    let mut at = 0;
    while at < characters.len() {
        let c = characters[at];
        if c.is_ascii_uppercase() && characters.get(at + 1) == Some(&'<') && "BCEFILSXZ".contains(c) {
            let run = characters[at + 1..].iter().take_while(|&&c| c == '<').count();
            closers.push(run);
            at += 1 + run;
        } else if c == '>' && !closers.is_empty() {
            let run = closers.pop().unwrap_or(1);
            at += run;
        } else {
            out.push(c);
            at += 1;
        }
    }
    out
}

/// The plain text of markup without `hidden` elements and without tags. Each of the `blocks` becomes a line.
fn markup(page: &str, hidden: &[&str], blocks: &str) -> String {
    let mut out = String::new();
    let mut rest = page;
    while let Some(open) = rest.find('<') {
        out.push_str(&rest[..open].replace('\n', " "));
        rest = &rest[open..];
        if rest.starts_with("<!--") {
            rest = rest.find("-->").map_or("", |end| &rest[end + 3..]);
            continue;
        }
        let Some(close) = rest.find('>') else { break };
        let tag = &rest[1..close];
        let name: String = tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
        let name = name.to_ascii_lowercase();
        rest = &rest[close + 1..];
        if !tag.starts_with('/') && !tag.ends_with('/') && hidden.contains(&name.as_str()) {
            rest = rest.find(&format!("</{name}")).map_or("", |end| &rest[end..]);
            out.push('\n');
        } else if blocks.contains(&format!(" {name} ")) {
            out.push('\n');
        }
    }
    out.push_str(&rest.replace('\n', " "));
    let lines = out.lines().map(|l| entities(&l.split_whitespace().collect::<Vec<_>>().join(" ")));
    lines.filter(|l| !l.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Decodes the character references that occur in manuals.
fn entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(';').filter(|&end| end < 10);
        let character = end.and_then(|end| {
            let name = &rest[1..end];
            let number = |digits: &str, base| u32::from_str_radix(digits, base).ok().and_then(char::from_u32);
            match name {
                "amp" => Some('&'),
                "lt" => Some('<'),
                "gt" => Some('>'),
                "quot" => Some('"'),
                "apos" => Some('\''),
                "nbsp" => Some(' '),
                "mdash" => Some('—'),
                "ndash" => Some('–'),
                "hellip" => Some('…'),
                "lsquo" => Some('‘'),
                "rsquo" => Some('’'),
                "ldquo" => Some('“'),
                "rdquo" => Some('”'),
                "auml" => Some('ä'),
                "ouml" => Some('ö'),
                "uuml" => Some('ü'),
                "szlig" => Some('ß'),
                "eacute" => Some('é'),
                "egrave" => Some('è'),
                "agrave" => Some('à'),
                _ => {
                    name.strip_prefix("#x").and_then(|d| number(d, 16)).or_else(|| number(name.strip_prefix('#')?, 10))
                }
            }
        });
        match (character, end) {
            (Some(c), Some(end)) => {
                out.push(if c == '\u{a0}' { ' ' } else { c });
                rest = &rest[end + 1..];
            }
            _ => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

/// The plain text of a manual page in roff, without fonts and layout. Headings stay, and filled lines are joined.
pub fn roff(page: &str) -> String {
    let mut out = Roff::default();
    let mut skip_until: Option<&str> = None;
    let mut depth = 0i32;
    for line in page.lines() {
        if let Some(end) = skip_until {
            if line.starts_with(end) {
                skip_until = None;
            }
            continue;
        }
        if depth > 0 || line.starts_with(".if") || line.starts_with(".ie") || line.starts_with(".el") {
            depth += line.matches("\\{").count() as i32 - line.matches("\\}").count() as i32;
            depth = depth.max(0);
            continue;
        }
        let control = line.strip_prefix(['.', '\'']).map(str::trim_start);
        let Some(control) = control else {
            out.text(&inline(line));
            continue;
        };
        let (name, arguments) = control.split_once(char::is_whitespace).unwrap_or((control, ""));
        match name {
            "de" | "ig" => skip_until = Some(".."),
            "TS" => skip_until = Some(".TE"),
            "EQ" => skip_until = Some(".EN"),
            "nf" | "EX" | "Vb" => out.filled(false),
            "fi" | "EE" | "Ve" => out.filled(true),
            "SH" | "SS" | "Sh" => {
                out.paragraph();
                out.text(&inline(&words(arguments).join(" ")));
                out.line();
            }
            "PP" | "LP" | "P" | "sp" | "TP" | "HP" | "Sp" | "RS" | "RE" => out.paragraph(),
            "br" => out.line(),
            "IP" => {
                out.paragraph();
                out.text(&inline(words(arguments).first().map_or("", String::as_str)));
            }
            "B" | "I" | "SM" | "SB" => out.text(&inline(&words(arguments).join(" "))),
            "BR" | "RB" | "IR" | "RI" | "BI" | "IB" => out.text(&inline(&words(arguments).concat())),
            _ => {}
        }
    }
    out.paragraph();
    out.done
}

#[derive(Default)]
struct Roff {
    done: String,
    current: String,
    verbatim: bool,
}

impl Roff {
    fn text(&mut self, text: &str) {
        if self.verbatim {
            self.current.push_str(text.trim_end());
            self.line();
        } else {
            let wide = |c: Option<char>| c.is_some_and(|c| c >= '\u{2e80}');
            let tight = wide(self.current.chars().last()) && wide(text.trim().chars().next());
            if !self.current.is_empty() && !text.trim().is_empty() && !tight {
                self.current.push(' ');
            }
            self.current.push_str(text.trim());
        }
    }

    fn line(&mut self) {
        if !self.current.trim().is_empty() {
            self.done.push_str(self.current.trim_end());
            self.done.push('\n');
        }
        self.current.clear();
    }

    fn paragraph(&mut self) {
        self.line();
        if !self.done.is_empty() && !self.done.ends_with("\n\n") {
            self.done.push('\n');
        }
    }

    fn filled(&mut self, filled: bool) {
        self.line();
        self.verbatim = !filled;
    }
}

/// The arguments of a macro: words, or text in double quotes.
fn words(arguments: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut characters = arguments.chars().peekable();
    while let Some(&c) = characters.peek() {
        if c.is_whitespace() {
            characters.next();
            continue;
        }
        let quoted = c == '"';
        if quoted {
            characters.next();
        }
        let mut word = String::new();
        while let Some(c) = characters.next() {
            match c {
                '"' if quoted && characters.peek() == Some(&'"') => {
                    word.push('"');
                    characters.next();
                }
                '"' if quoted => break,
                '\\' => {
                    word.push(c);
                    word.extend(characters.next());
                }
                c if !quoted && c.is_whitespace() => break,
                c => word.push(c),
            }
        }
        words.push(word);
    }
    words
}

/// A line of text with its escapes replaced: `\fB`, `\-`, `\(em`, `\[u00E9]`, `\*(lq`, comments.
fn inline(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match characters.next() {
            Some('"' | '#') => break,
            Some('f' | 'F' | 'g' | 'k' | 'n' | 'm') => drop(name(&mut characters)),
            Some('*') => {
                if matches!(name(&mut characters).as_str(), "lq" | "rq" | "L\"" | "R\"" | "C'" | "C`") {
                    out.push('"');
                }
            }
            Some('s') => {
                if matches!(characters.peek(), Some('+' | '-')) {
                    characters.next();
                }
                while characters.peek().is_some_and(char::is_ascii_digit) {
                    characters.next();
                }
            }
            Some(start @ ('(' | '[')) => {
                let name: String = if start == '(' {
                    characters.by_ref().take(2).collect()
                } else {
                    characters.by_ref().take_while(|&c| c != ']').collect()
                };
                out.push_str(special(&name).as_deref().unwrap_or(""));
            }
            Some('h' | 'v' | 'w' | 'o' | 'D' | 'L' | 'l' | 'N' | 'Z') => {
                quoted(&mut characters);
            }
            Some('e' | '\\') => out.push('\\'),
            Some(c @ ('-' | '\'' | '`' | '.' | ' ')) => out.push(c),
            Some('~' | '0') => out.push(' '),
            _ => {}
        }
    }
    out
}

/// Skips a quoted argument, as in `\h'2n'`.
fn quoted(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    if characters.next() == Some('\'') {
        characters.by_ref().take_while(|&c| c != '\'').for_each(drop);
    }
}

/// The name after an escape: one character, two after `(`, any number in brackets.
fn name(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    match characters.next() {
        Some('(') => characters.by_ref().take(2).collect(),
        Some('[') => characters.by_ref().take_while(|&c| c != ']').collect(),
        Some(c) => c.to_string(),
        None => String::new(),
    }
}

fn special(name: &str) -> Option<String> {
    let known = match name {
        "em" => "—",
        "en" => "–",
        "hy" | "mi" => "-",
        "aq" => "'",
        "dq" | "lq" | "rq" => "\"",
        "oq" => "‘",
        "cq" => "’",
        "bu" => "•",
        "co" => "©",
        "rg" => "®",
        "ti" | "ha" | "rs" | "at" | "sh" => match name {
            "ti" => "~",
            "ha" => "^",
            "rs" => "\\",
            "at" => "@",
            _ => "#",
        },
        "<=" => "≤",
        ">=" => "≥",
        "!=" => "≠",
        "->" => "→",
        "<-" => "←",
        "mu" => "×",
        "+-" => "±",
        _ => {
            let code = u32::from_str_radix(name.strip_prefix('u')?, 16).ok()?;
            return char::from_u32(code).map(String::from);
        }
    };
    Some(known.to_string())
}

/// Joins the lines of each paragraph: text that was wrapped for a terminal becomes prose again.
pub fn unwrap(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|p| p.split_whitespace().collect::<Vec<_>>().join(" "));
    paragraphs.filter(|p| !p.is_empty()).collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_keeps_the_words_only() {
        let page = "<html><head><title>x</title></head><body><p>Größe &amp; <b>Maß</b>\nhier</p><script>no()</script>\
                    <ul><li>a&#8211;b</li></ul></body>";
        assert_eq!(html(page), "Größe & Maß hier\na–b");
    }

    #[test]
    fn roff_keeps_the_words_only() {
        let page = ".\\\" comment\n.TH LS 1\n.SH NAME\nls \\- list \\fBfiles\\fP\nof a\n\
                    .BR dir (1)\n.de Xx\nhidden\n..\n.nf\n  a  b\n.fi\n";
        assert_eq!(roff(page), "NAME\nls - list files of a dir(1)\n  a  b\n\n");
    }

    #[test]
    fn roff_joins_chinese_without_spaces() {
        assert_eq!(roff("列出\n文件\nls 命令\n"), "列出文件 ls 命令\n\n");
    }
}
