//! Tokens that text is cut at before anything else: special ones, and those
//! that a model's author added whole.

use std::collections::HashMap;
use std::fmt::Write;

use engine::TokenId;
use tokenizers::utils::SysRegex;

use super::TokenizerBuildError;

#[derive(Debug)]
pub(super) struct Atoms {
    /// `None` when there is no such token.
    any: Option<SysRegex>,
    atoms: HashMap<String, Atom>,
}

/// A token that is never cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Atom {
    pub(super) id: TokenId,
    /// Whether it takes the white space after it along.
    pub(super) swallows_space: bool,
}

/// A part of a text that was cut at atoms.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fragment<'t> {
    Text(&'t str),
    Atom(TokenId),
}

impl Atoms {
    pub(super) fn new<'a>(
        atoms: impl Iterator<Item = (&'a str, Atom)>,
    ) -> Result<Self, TokenizerBuildError> {
        let atoms: HashMap<String, Atom> = atoms.map(|(text, atom)| (text.into(), atom)).collect();
        // Alternatives are tried in order, so the longest must come first.
        let mut texts: Vec<&String> = atoms.keys().collect();
        texts.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        let alternatives: Vec<String> = texts.into_iter().map(|text| escape(text)).collect();
        let any = match alternatives.is_empty() {
            true => None,
            false => {
                let any = SysRegex::new(&alternatives.join("|"));
                Some(any.map_err(TokenizerBuildError::Refused)?)
            }
        };
        Ok(Self { any, atoms })
    }

    /// Cuts `text` at every atom, leftmost first and the longest of those.
    pub(super) fn split<'t>(&self, text: &'t str) -> Vec<Fragment<'t>> {
        let mut fragments = Vec::new();
        let mut rest = 0;
        for (start, end) in self.any.iter().flat_map(|any| any.find_iter(text)) {
            // Swallowed space may hold what would be an atom itself.
            let Some(atom) = self.atoms.get(&text[start..end]).filter(|_| start >= rest) else {
                continue;
            };
            if rest < start {
                fragments.push(Fragment::Text(&text[rest..start]));
            }
            fragments.push(Fragment::Atom(atom.id));
            rest = end;
            if atom.swallows_space {
                let tail = &text[end..];
                rest += tail.len() - tail.trim_ascii_start().len();
            }
        }
        if rest < text.len() {
            fragments.push(Fragment::Text(&text[rest..]));
        }
        fragments
    }
}

/// `text` as a regular expression that matches nothing else. Numbers serve
/// where a backslash would give some letters and signs a meaning.
fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, c| {
        if c.is_ascii_alphanumeric() {
            escaped.push(c);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, r"\x{{{:x}}}", u32::from(c));
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atoms(swallows_space: bool) -> Atoms {
        let tokens = [("<s>", 1), ("<s>>", 2), ("a.c", 3), ("\n", 4)];
        let atoms = tokens.map(|(text, id)| (text, super::Atom { id, swallows_space }));
        Atoms::new(atoms.into_iter()).unwrap()
    }

    #[test]
    fn the_longest_leftmost_token_cuts() {
        use Fragment::{Atom, Text};
        assert_eq!(
            atoms(false).split("x<s>>abc"),
            [Text("x"), Atom(2), Text("abc")]
        );
        assert_eq!(atoms(false).split("a.c<s>"), [Atom(3), Atom(1)]);
        assert_eq!(atoms(false).split(""), []);
        assert_eq!(
            atoms(false).split("<s> \nx"),
            [Atom(1), Text(" "), Atom(4), Text("x")]
        );
        assert_eq!(atoms(true).split("<s> \nx "), [Atom(1), Text("x ")]);
    }

    #[test]
    fn no_tokens_cut_nothing() {
        let none = Atoms::new(std::iter::empty()).unwrap();
        assert_eq!(none.split("ab"), [Fragment::Text("ab")]);
    }
}
