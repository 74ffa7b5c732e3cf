//! One colour for each expert, the same everywhere and safe for colour-blind eyes. Up to eight experts have the
//! colours of Okabe and Ito ("Color Universal Design", 2008), with grey and olive in place of black and yellow, so
//! that text is readable on them in both themes. More experts have evenly spaced hues in OKLCH (Ottosson 2020) at
//! three lightnesses.
//!
//! A stylesheet made here gives every element with `data-e="N"` (or the class `eN`, which a browser matches faster)
//! its colours as `--c` (fill), `--n` (a number on the panel, contrast at least 4.5) and `--on` (a number on the
//! fill).

use wasm_bindgen::{JsCast, JsValue};

const LIGHT_PANEL: Rgb = Rgb(1.0, 1.0, 1.0);
const DARK_PANEL: Rgb = Rgb(0.11, 0.11, 0.106);
const OKABE_ITO_LIGHT: [u32; 8] = [0x0072b2, 0xe69f00, 0x009e73, 0xcc79a7, 0x56b4e9, 0xd55e00, 0x8c8c00, 0x7a7a7a];
const OKABE_ITO_DARK: [u32; 8] = [0x4ba3dc, 0xe69f00, 0x2fbf95, 0xd987b5, 0x7cc6f2, 0xf07f3c, 0xb9b93c, 0xa3a3a3];
/// Minimum contrast of numbers: WCAG AA requires 4.5, and rounding to 8 bits reduces it slightly.
const CONTRAST: f32 = 4.7;

/// The share of an expert's colour in the strongest tint under its number (style.css).
const TINT: f32 = 0.2;

/// An expert's colours on one theme, as CSS colours.
#[derive(Clone, Debug, PartialEq)]
pub struct Shade {
    /// Areas.
    pub fill: String,
    /// Its number on the panel.
    pub number: String,
    /// Its number on `fill`.
    pub on_fill: &'static str,
}

/// The colours of all experts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Palette {
    light: Vec<Shade>,
    dark: Vec<Shade>,
}

impl Palette {
    /// Colours for `experts` experts.
    pub fn new(experts: usize) -> Self {
        let shades = |dark: bool| (0..experts).map(|e| shade(fill(e, experts, dark), dark)).collect();
        Self { light: shades(false), dark: shades(true) }
    }

    /// The colours of `expert`.
    pub fn shade(&self, expert: u32, dark: bool) -> &Shade {
        let shades = if dark { &self.dark } else { &self.light };
        &shades[expert as usize % shades.len()]
    }

    /// How many experts have a colour.
    pub fn colours(&self) -> usize {
        self.light.len()
    }

    /// Adds the rules for `data-e` to the document, replacing those of an earlier palette.
    pub fn install(&self) {
        let rules: String = self
            .light
            .iter()
            .zip(&self.dark)
            .enumerate()
            .map(|(e, (light, dark))| {
                format!(
                    "[data-e=\"{e}\"],.e{e}{{--c:light-dark({},{});--n:light-dark({},{});--on:light-dark({},{})}}\n\
                     [data-e2=\"{e}\"],.s{e}{{--n2:light-dark({},{});--c2:light-dark({},{})}}\n\
                     .strip[data-fading=\"{e}\"] .token:not(.x{e}){{\
                     --c:var(--line);--c2:var(--line);--n:var(--soft);--n2:var(--soft);--fade:var(--soft)}}\n",
                    light.fill,
                    dark.fill,
                    light.number,
                    dark.number,
                    light.on_fill,
                    dark.on_fill,
                    light.number,
                    dark.number,
                    light.fill,
                    dark.fill
                )
            })
            .collect();
        let Ok(sheet) = web_sys::CssStyleSheet::new() else { return };
        if sheet.replace_sync(&rules).is_err() {
            return;
        }
        let document: JsValue = gloo::utils::document().into();
        let sheets = js_sys::Array::of1(sheet.unchecked_ref());
        // Without adopted stylesheets experts have numbers but no colours.
        let _ = js_sys::Reflect::set(&document, &"adoptedStyleSheets".into(), &sheets);
    }
}

fn shade(fill: Rgb, dark: bool) -> Shade {
    let panel = if dark { DARK_PANEL } else { LIGHT_PANEL };
    let (black, white) = (Rgb(0.067, 0.067, 0.067), Rgb(1.0, 1.0, 1.0));
    let on_fill = if contrast(fill, black) >= contrast(fill, white) { "#111" } else { "#fff" };
    // Numbers stand on the panel and on a tint of their own colour, where the contrast is harder to reach.
    Shade { fill: fill.css(), number: readable(fill, panel.mixed(fill, TINT)).css(), on_fill }
}

fn fill(expert: usize, experts: usize, dark: bool) -> Rgb {
    if experts <= 8 {
        return Rgb::hex(if dark { OKABE_ITO_DARK } else { OKABE_ITO_LIGHT }[expert]);
    }
    let hue = (expert * stride(experts)) as f32 / experts as f32 * 360.0;
    let base = if dark { 0.74 } else { 0.62 };
    let lightness = base + [0.0, -0.1, 0.1][expert % 3];
    Oklch { lightness, chroma: 0.13, hue }.rgb()
}

/// A step around the ring near the golden section and without a common divisor with `experts`, so that
/// neighbours in number are far apart in hue and all hues are used.
fn stride(experts: usize) -> usize {
    let golden = (experts as f32 * 0.382).round() as usize;
    (golden.max(1)..experts).find(|&step| gcd(step, experts) == 1).unwrap_or(1)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The colour nearest to `colour`, with the same hue, that is readable on `panel`.
fn readable(colour: Rgb, panel: Rgb) -> Rgb {
    let mut lch = colour.oklch();
    let step = if panel.luminance() > 0.5 { -0.01 } else { 0.01 };
    let mut candidate = colour;
    while contrast(candidate, panel) < CONTRAST && (0.0..=1.0).contains(&lch.lightness) {
        lch.lightness += step;
        candidate = lch.rgb();
    }
    candidate
}

/// WCAG contrast ratio, 1 to 21.
fn contrast(a: Rgb, b: Rgb) -> f32 {
    let (a, b) = (a.luminance(), b.luminance());
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

/// An sRGB colour, each component from 0 to 1.
#[derive(Clone, Copy, Debug)]
struct Rgb(f32, f32, f32);

struct Oklch {
    lightness: f32,
    chroma: f32,
    /// Degrees.
    hue: f32,
}

impl Rgb {
    fn hex(hex: u32) -> Self {
        let channel = |shift: u32| ((hex >> shift) & 255) as f32 / 255.0;
        Self(channel(16), channel(8), channel(0))
    }

    /// Mixes in `share` of `other`, as CSS's `color-mix(in srgb)` does.
    fn mixed(self, other: Self, share: f32) -> Self {
        let mix = |a: f32, b: f32| a + (b - a) * share;
        Self(mix(self.0, other.0), mix(self.1, other.1), mix(self.2, other.2))
    }

    fn css(self) -> String {
        let byte = |x: f32| (x.clamp(0.0, 1.0) * 255.0).round() as u8;
        format!("#{:02x}{:02x}{:02x}", byte(self.0), byte(self.1), byte(self.2))
    }

    fn linear(self) -> [f32; 3] {
        [self.0, self.1, self.2].map(|x| if x <= 0.04045 { x / 12.92 } else { ((x + 0.055) / 1.055).powf(2.4) })
    }

    fn from_linear(linear: [f32; 3]) -> Self {
        let [r, g, b] = linear.map(|x| {
            let x = x.clamp(0.0, 1.0);
            if x <= 0.003_130_8 { x * 12.92 } else { 1.055 * x.powf(1.0 / 2.4) - 0.055 }
        });
        Self(r, g, b)
    }

    fn luminance(self) -> f32 {
        let [r, g, b] = self.linear();
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    fn oklch(self) -> Oklch {
        let [r, g, b] = self.linear();
        let l = (0.412_221_46 * r + 0.536_332_55 * g + 0.051_445_995 * b).cbrt();
        let m = (0.211_903_5 * r + 0.680_699_5 * g + 0.107_396_96 * b).cbrt();
        let s = (0.088_302_46 * r + 0.281_718_85 * g + 0.629_978_7 * b).cbrt();
        let lightness = 0.210_454_26 * l + 0.793_617_8 * m - 0.004_072_047 * s;
        let a = 1.977_998_5 * l - 2.428_592_2 * m + 0.450_593_7 * s;
        let b = 0.025_904_037 * l + 0.782_771_77 * m - 0.808_675_77 * s;
        Oklch { lightness, chroma: a.hypot(b), hue: b.atan2(a).to_degrees() }
    }
}

impl Oklch {
    fn rgb(&self) -> Rgb {
        let (sin, cos) = self.hue.to_radians().sin_cos();
        let (a, b) = (self.chroma * cos, self.chroma * sin);
        let l = (self.lightness + 0.396_337_78 * a + 0.215_803_76 * b).powi(3);
        let m = (self.lightness - 0.105_561_346 * a - 0.063_854_17 * b).powi(3);
        let s = (self.lightness - 0.089_484_18 * a - 1.291_485_5 * b).powi(3);
        Rgb::from_linear([
            4.076_741_7 * l - 3.307_711_6 * m + 0.230_969_94 * s,
            -1.268_438 * l + 2.609_757_4 * m - 0.341_319_38 * s,
            -0.004_196_086_3 * l - 0.703_418_6 * m + 1.707_614_7 * s,
        ])
    }
}
