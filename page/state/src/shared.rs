//! A value that several views use. It is cheap to clone and equal only to its own clones, so that a view renders again
//! exactly when the value was replaced.

use std::ops::Deref;
use std::rc::Rc;

/// A shared, immutable value compared by identity.
#[derive(Debug, Default)]
pub struct Shared<T>(Rc<T>);

impl<T> Shared<T> {
    /// Shares `value`.
    pub fn new(value: T) -> Self {
        Self(Rc::new(value))
    }
}

impl<T> Shared<T> {
    /// Whether there is no other clone.
    pub fn is_unshared(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }
}

impl<T: Clone> Shared<T> {
    /// Changes the value; other clones keep the old one. Without other clones nothing is copied.
    pub fn change(&mut self, change: impl FnOnce(&mut T)) {
        change(Rc::make_mut(&mut self.0));
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}
