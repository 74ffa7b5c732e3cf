//! Heights of bars.

/// A property that is this share of the highest bar.
pub fn bar_height(property: &str, share: f32) -> String {
    format!("{property}:calc(var(--bar-height)*{share:.4})")
}
