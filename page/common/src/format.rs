//! Formats numbers in the chosen language.

use js_sys::{Array, Function, Intl, Object, Reflect};
use std::cell::RefCell;
use std::collections::HashMap;
use wasm_bindgen::JsValue;

#[derive(Default)]
struct Formats {
    language: String,
    numbers: HashMap<&'static str, Function>,
    plurals: Option<Intl::PluralRules>,
    /// Formatted whole percents from 0 to 100, which are used very often.
    percents: HashMap<u8, String>,
}

thread_local! {
    static FORMATS: RefCell<Formats> = RefCell::new(Formats { language: "en".into(), ..Formats::default() });
}

/// Sets the language (BCP 47).
pub fn choose(language: &str) {
    FORMATS.set(Formats { language: language.to_owned(), ..Formats::default() });
}

/// `12,345`
pub fn count(n: f64) -> String {
    // A browser takes 30 ms to create the first number format of a language, and the opening page in English needs
    // none.
    let english = || FORMATS.with_borrow(|formats| formats.language == "en");
    if (0.0..1000.0).contains(&n) && n.fract() == 0.0 && english() {
        return n.to_string();
    }
    number("count", n, &[("maximumFractionDigits", JsValue::from(0))])
}

/// `1.38`
pub fn decimal(x: f64) -> String {
    number("decimal", x, &[("minimumFractionDigits", JsValue::from(2)), ("maximumFractionDigits", JsValue::from(2))])
}

/// `4.5`
pub fn tenth(x: f64) -> String {
    number("tenth", x, &[("minimumFractionDigits", JsValue::from(1)), ("maximumFractionDigits", JsValue::from(1))])
}

/// `3.7M`: a large number with two digits.
pub fn short(n: f64) -> String {
    number("short", n, &[("notation", "compact".into()), ("maximumSignificantDigits", JsValue::from(2))])
}

/// `46.7B`: a large number with three digits.
pub fn compact(n: f64) -> String {
    number("compact", n, &[("notation", "compact".into()), ("maximumSignificantDigits", JsValue::from(3))])
}

/// `28%`, from a share between 0 and 1.
pub fn percent(share: f64) -> String {
    let whole = (share * 100.0).round();
    if !(0.0..=100.0).contains(&whole) {
        return any_percent(share);
    }
    let known = FORMATS.with_borrow(|formats| formats.percents.get(&(whole as u8)).cloned());
    known.unwrap_or_else(|| {
        let written = any_percent(whole / 100.0);
        FORMATS.with_borrow_mut(|formats| formats.percents.insert(whole as u8, written.clone()));
        written
    })
}

/// As [`percent`], with a digit after the point below one percent: `0.4%`.
pub fn small_percent(share: f64) -> String {
    if share >= 0.01 {
        return percent(share);
    }
    number("small-percent", share, &[("style", "percent".into()), ("maximumSignificantDigits", JsValue::from(1))])
}

fn any_percent(share: f64) -> String {
    number("percent", share, &[("style", "percent".into()), ("maximumFractionDigits", JsValue::from(0))])
}

/// `7.4 MB`, in powers of 1,000 as in file managers and downloads.
pub fn bytes(n: f64) -> String {
    let (value, unit) = match n {
        n if n >= 1e9 => (n / 1e9, "GB"),
        n if n >= 1e6 => (n / 1e6, "MB"),
        n if n >= 1e3 => (n / 1e3, "kB"),
        n => return format!("{} B", count(n)),
    };
    format!("{} {unit}", tenth(value))
}

/// `2.7 MFLOP`
pub fn flops(n: f64) -> String {
    let (value, unit) = match n {
        n if n >= 1e12 => (n / 1e12, "TFLOP"),
        n if n >= 1e9 => (n / 1e9, "GFLOP"),
        n if n >= 1e6 => (n / 1e6, "MFLOP"),
        n => (n / 1e3, "kFLOP"),
    };
    format!("{} {unit}", tenth(value))
}

/// The plural category of `n`: "one", "few", "other"...
pub fn plural_form(n: usize) -> String {
    FORMATS.with_borrow_mut(|formats| {
        let locales = Array::of1(&formats.language.as_str().into());
        let rules = formats.plurals.get_or_insert_with(|| Intl::PluralRules::new(&locales, &Object::new()));
        rules.select(n as f64).as_string().unwrap_or_else(|| "other".into())
    })
}

fn number(kind: &'static str, x: f64, options: &[(&str, JsValue)]) -> String {
    FORMATS.with_borrow_mut(|formats| {
        let Formats { language, numbers, .. } = formats;
        let format = numbers.entry(kind).or_insert_with(|| {
            let all = Object::new();
            for (name, value) in options {
                // Setting a property of a plain object cannot fail.
                let _ = Reflect::set(&all, &(*name).into(), value);
            }
            Intl::NumberFormat::new(&Array::of1(&language.as_str().into()), &all).format()
        });
        format.call1(&JsValue::UNDEFINED, &x.into()).ok().and_then(|text| text.as_string()).unwrap_or_default()
    })
}
