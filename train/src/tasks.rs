//! Twenty small tasks written as an instruction and an answer, made by program: what a model is instruction-tuned on.
//!
//! An instance is a pure function of the task and its number. The last of every ten instances is held out; an
//! instance whose text was trained on is never in the held-out part.

use crate::random::hash;
use std::collections::HashSet;

/// Makes an instance of a task: instruction and answer.
type Task = fn(&mut Draw) -> (String, String);

/// All tasks.
const TASKS: [Task; 20] = [
    |d| one_line("Repeat the words", d.words(2, 5), |w| w.join(" ")),
    |d| one_line("Write the words in reverse order", d.words(2, 4), reversed),
    |d| one_line("Write the first word", d.words(3, 6), |w| w[0].to_owned()),
    |d| one_line("Write the last word", d.words(3, 6), |w| w[w.len() - 1].to_owned()),
    |d| one_line("Count the words", d.words(1, 9), |w| w.len().to_string()),
    |d| one_line("Count the letters", d.words(1, 1), |w| w[0].len().to_string()),
    |d| one_line("Write in capitals", d.words(1, 2), |w| w.join(" ").to_uppercase()),
    |d| translated(d, "German", 1),
    |d| translated(d, "French", 2),
    |d| translated(d, "Spanish", 3),
    |d| sum(d, "Add", |a, b| a + b),
    |d| sum(d, "Subtract the second from the first", |a, b| a - b),
    |d| sum(d, "Write the larger number", i64::max),
    even,
    next,
    sort,
    listed,
    json,
    call,
    kind,
];

/// The text of `count` instances of every task, in turn: of the training part, or of the held-out part.
pub fn text(count: usize, held_out: bool) -> Vec<String> {
    let mut instances = Vec::new();
    for (number, task) in TASKS.iter().enumerate() {
        let seen: HashSet<String> = (0..MOST).filter(|i| i % 10 != 9).map(|i| instance(*task, number, i)).collect();
        let numbers = (0..).filter(|i| (i % 10 == 9) == held_out);
        let wanted = |text: &String| !held_out || !seen.contains(text);
        instances.push(numbers.take(MOST).map(|i| instance(*task, number, i)).filter(wanted).take(count).collect());
    }
    interleaved(&instances)
}

/// Numbers of instances that are looked at.
const MOST: usize = 4000;

/// The instances of all tasks in turn: the first of each, the second of each, and so on.
fn interleaved(instances: &[Vec<String>]) -> Vec<String> {
    let most = instances.iter().map(Vec::len).max().unwrap_or(0);
    (0..most).flat_map(|i| instances.iter().filter_map(move |task| task.get(i).cloned())).collect()
}

fn instance(task: Task, number: usize, nth: usize) -> String {
    let mut draw = Draw { seed: 0x7a5c ^ (number as u64) << 32 ^ nth as u64, place: 0 };
    let (instruction, answer) = task(&mut draw);
    format!("Instruction: {instruction}\nAnswer: {answer}\n")
}

/// Draws from the seed of an instance.
struct Draw {
    seed: u64,
    place: u64,
}

impl Draw {
    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.place += 1;
        (hash(self.seed, self.place) % end as u64) as usize
    }

    fn number(&mut self, end: i64) -> i64 {
        self.below(end as usize) as i64
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    fn words(&mut self, least: usize, most: usize) -> Vec<&'static str> {
        let count = least + self.below(most - least + 1);
        (0..count).map(|_| self.of(&WORDS)[0]).collect()
    }
}

fn one_line(what: &str, words: Vec<&'static str>, answer: fn(&[&str]) -> String) -> (String, String) {
    (format!("{what}: {}", words.join(" ")), answer(&words))
}

fn reversed(words: &[&str]) -> String {
    words.iter().rev().copied().collect::<Vec<_>>().join(" ")
}

fn translated(draw: &mut Draw, language: &str, at: usize) -> (String, String) {
    let word = draw.of(&WORDS);
    let how = draw.of(&["Translate into", "Write in", "Say in"]);
    (format!("{how} {language}: {}", word[0]), word[at].to_owned())
}

fn sum(draw: &mut Draw, what: &str, answer: fn(i64, i64) -> i64) -> (String, String) {
    let (a, b) = (draw.number(100), draw.number(100));
    (format!("{what}: {a} and {b}"), answer(a, b).to_string())
}

fn even(draw: &mut Draw) -> (String, String) {
    let number = draw.number(1000);
    (format!("Is {number} even or odd?"), if number % 2 == 0 { "even" } else { "odd" }.to_owned())
}

fn next(draw: &mut Draw) -> (String, String) {
    let (start, step) = (draw.number(20), 1 + draw.number(9));
    let shown: Vec<String> = (0..4).map(|n| (start + n * step).to_string()).collect();
    (format!("Continue: {}", shown.join(", ")), (start + 4 * step).to_string())
}

fn sort(draw: &mut Draw) -> (String, String) {
    let mut numbers: Vec<i64> = (0..3 + draw.below(2)).map(|_| draw.number(50)).collect();
    let words = |numbers: &[i64]| numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(" ");
    let given = words(&numbers);
    numbers.sort_unstable();
    (format!("Sort the numbers: {given}"), words(&numbers))
}

fn listed(draw: &mut Draw) -> (String, String) {
    let words = draw.words(2, 4);
    let answer = words.iter().map(|word| format!("- {word}")).collect::<Vec<_>>().join("\n");
    (format!("Make a list of: {}", words.join(", ")), format!("\n{answer}"))
}

fn json(draw: &mut Draw) -> (String, String) {
    let (word, number) = (draw.of(&WORDS)[0], draw.number(100));
    (format!("Write as JSON: {word} is {number}"), format!("{{\"{word}\": {number}}}"))
}

fn call(draw: &mut Draw) -> (String, String) {
    let (name, a, b) = (draw.of(&WORDS)[0], draw.number(100), draw.number(100));
    (format!("Write a call of the function {name} with {a} and {b}"), format!("{name}({a}, {b});"))
}

fn kind(draw: &mut Draw) -> (String, String) {
    let (name, samples) = draw.of(&KINDS);
    let sample = draw.of(samples);
    let (word, number) = (draw.of(&WORDS)[0], draw.number(100).to_string());
    let sample = sample.replace("WORD", word).replace("NUMBER", &number);
    (format!("What kind of text is this? {sample}"), name.to_owned())
}

/// Kinds of text, with samples in which a word and a number are to be put.
const KINDS: [(&str, &[&str]); 6] = [
    ("code", &["let WORD = NUMBER;", "return WORD(NUMBER);", "if (WORD > NUMBER) { WORD += 1; }"]),
    ("English", &["The WORD was seen NUMBER times that day.", "She asked for a WORD, and got NUMBER of them."]),
    ("German", &["Er hat NUMBER Tage lang gewartet, sagte sie.", "Die NUMBER Kinder gingen nach Hause (WORD)."]),
    ("French", &["Il y avait NUMBER personnes dans la rue (WORD).", "Elle a lu NUMBER livres cette semaine."]),
    ("chess", &["1. e4 e5 2. Nf3 Nc6 3. Bb5 a6 NUMBER", "1. d4 d5 2. c4 e6 3. Nc3 Nf6 NUMBER"]),
    ("mathematics", &["NUMBER + NUMBER = 2 * NUMBER", "x = NUMBER / 2, so 2 x = NUMBER"]),
];

/// Words in English, German, French and Spanish.
const WORDS: [[&str; 4]; 60] = [
    ["house", "Haus", "maison", "casa"],
    ["water", "Wasser", "eau", "agua"],
    ["bread", "Brot", "pain", "pan"],
    ["book", "Buch", "livre", "libro"],
    ["tree", "Baum", "arbre", "árbol"],
    ["dog", "Hund", "chien", "perro"],
    ["cat", "Katze", "chat", "gato"],
    ["bird", "Vogel", "oiseau", "pájaro"],
    ["fish", "Fisch", "poisson", "pez"],
    ["horse", "Pferd", "cheval", "caballo"],
    ["sun", "Sonne", "soleil", "sol"],
    ["moon", "Mond", "lune", "luna"],
    ["star", "Stern", "étoile", "estrella"],
    ["sea", "Meer", "mer", "mar"],
    ["river", "Fluss", "rivière", "río"],
    ["mountain", "Berg", "montagne", "montaña"],
    ["stone", "Stein", "pierre", "piedra"],
    ["fire", "Feuer", "feu", "fuego"],
    ["wind", "Wind", "vent", "viento"],
    ["rain", "Regen", "pluie", "lluvia"],
    ["snow", "Schnee", "neige", "nieve"],
    ["day", "Tag", "jour", "día"],
    ["night", "Nacht", "nuit", "noche"],
    ["year", "Jahr", "année", "año"],
    ["hand", "Hand", "main", "mano"],
    ["head", "Kopf", "tête", "cabeza"],
    ["heart", "Herz", "coeur", "corazón"],
    ["eye", "Auge", "oeil", "ojo"],
    ["man", "Mann", "homme", "hombre"],
    ["woman", "Frau", "femme", "mujer"],
    ["child", "Kind", "enfant", "niño"],
    ["friend", "Freund", "ami", "amigo"],
    ["king", "König", "roi", "rey"],
    ["city", "Stadt", "ville", "ciudad"],
    ["street", "Straße", "rue", "calle"],
    ["door", "Tür", "porte", "puerta"],
    ["window", "Fenster", "fenêtre", "ventana"],
    ["table", "Tisch", "table", "mesa"],
    ["chair", "Stuhl", "chaise", "silla"],
    ["letter", "Brief", "lettre", "carta"],
    ["word", "Wort", "mot", "palabra"],
    ["name", "Name", "nom", "nombre"],
    ["world", "Welt", "monde", "mundo"],
    ["life", "Leben", "vie", "vida"],
    ["death", "Tod", "mort", "muerte"],
    ["time", "Zeit", "temps", "tiempo"],
    ["money", "Geld", "argent", "dinero"],
    ["work", "Arbeit", "travail", "trabajo"],
    ["garden", "Garten", "jardin", "jardín"],
    ["flower", "Blume", "fleur", "flor"],
    ["apple", "Apfel", "pomme", "manzana"],
    ["milk", "Milch", "lait", "leche"],
    ["wine", "Wein", "vin", "vino"],
    ["ship", "Schiff", "bateau", "barco"],
    ["bridge", "Brücke", "pont", "puente"],
    ["church", "Kirche", "église", "iglesia"],
    ["school", "Schule", "école", "escuela"],
    ["song", "Lied", "chanson", "canción"],
    ["dream", "Traum", "rêve", "sueño"],
    ["war", "Krieg", "guerre", "guerra"],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_out_instances_are_never_trained_on() {
        let train: HashSet<String> = text(400, false).into_iter().collect();
        let held_out = text(40, true);
        assert!(held_out.len() > 400, "{} held-out instances", held_out.len());
        assert!(held_out.iter().all(|instance| !train.contains(instance)));
    }

    #[test]
    fn answers_are_right() {
        let all = text(300, false);
        let of = |beginning: &str| -> Vec<(String, String)> {
            let split = |text: &String| {
                let (instruction, answer) = text.strip_prefix("Instruction: ")?.split_once("\nAnswer: ")?;
                Some((instruction.strip_prefix(beginning)?.to_owned(), answer.trim_end().to_owned()))
            };
            let found: Vec<_> = all.iter().filter_map(split).collect();
            assert!(found.len() > 20, "{beginning}: {}", found.len());
            found
        };
        for (numbers, answer) in of("Add: ") {
            let (a, b) = numbers.split_once(" and ").unwrap();
            assert_eq!(a.parse::<i64>().unwrap() + b.parse::<i64>().unwrap(), answer.parse::<i64>().unwrap());
        }
        for (words, answer) in of("Write the words in reverse order: ") {
            let back: Vec<&str> = answer.split(' ').rev().collect();
            assert_eq!(words, back.join(" "));
        }
        for (word, answer) in of("Count the letters: ") {
            assert_eq!(word.len().to_string(), answer);
        }
        for (word, answer) in of("Translate into German: ") {
            assert!(WORDS.iter().any(|entry| entry[0] == word && entry[1] == answer), "{word}: {answer}");
        }
    }

    #[test]
    fn the_same_instances_every_time_and_every_task_among_them() {
        assert_eq!(text(5, false), text(5, false));
        assert_eq!(text(1, false).len(), TASKS.len());
    }
}
