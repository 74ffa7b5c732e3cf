//! Heights of bars.

/// A style property with this share of the largest bar's height.
pub fn bar_height(property: &str, share: f32) -> String {
    format!("{property}:calc(var(--bar-height)*{share:.4})")
}
