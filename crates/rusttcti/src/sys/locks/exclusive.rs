// SPDX-License-Identifier: BSD-2-Clause
//! What one call at a time may use: a lock that is tried, and let go by a plain
//! store, because every command takes it twice. Who alone uses it may keep it
//! from one command to the next ([`Owned`]).

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Exclusive<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `value` is reached only through a `Guard`, of which `taken` lets there
// be one at a time; what it guards may move between threads.
unsafe impl<T: Send> Sync for Exclusive<T> {}

impl<T> Exclusive<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            taken: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// `None` while another call has it.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        (!self.taken.swap(true, Ordering::Acquire)).then(|| Guard(self))
    }

    /// The same, for as long as the caller likes.
    pub(crate) fn try_own(self: &Arc<Self>) -> Option<Owned<T>> {
        std::mem::forget(self.try_lock()?);
        Some(Owned(self.clone()))
    }

    /// Waits for as long as another call has it. Nobody is woken when it is let
    /// go: who waits looks now and then, at first often.
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        let mut looks = 0;
        loop {
            if let Some(guard) = self.try_lock() {
                return guard;
            }
            looks += 1;
            if looks < 20 {
                thread::yield_now();
            } else {
                thread::sleep(Duration::from_micros(200));
            }
        }
    }
}

/// The use of an [`Exclusive`], until it is dropped.
#[derive(Debug)]
pub(crate) struct Guard<'a, T>(&'a Exclusive<T>);

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this is the only guard, so that nobody else has a reference.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this is the only guard, and it is borrowed mutably.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::Release);
    }
}

/// The use of an [`Exclusive`], kept beyond a call.
#[derive(Debug)]
pub(crate) struct Owned<T>(Arc<Exclusive<T>>);

impl<T> Deref for Owned<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: made of the only guard, which `try_own` forgot.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Owned<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and it is borrowed mutably.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_beyond_a_call_is_nobody_elses_until_it_is_given_back() {
        let shared = Arc::new(Exclusive::new(1));
        let mut owned = shared.try_own().expect("free");
        *owned = 2;
        assert!(shared.try_lock().is_none() && shared.try_own().is_none());
        drop(owned);
        assert_eq!(shared.try_lock().map(|value| *value), Some(2));
        assert_eq!(shared.try_own().map(|value| *value), Some(2));
    }
}
