// SPDX-License-Identifier: BSD-2-Clause
//! A lock without a queue of waiting threads. A plain store releases it, because every
//! command takes it twice. Its only user may keep it from one command to the next
//! ([`KeptGuard`]).

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

// SAFETY: `value` is reached only through a guard. `taken` allows one at a time,
// and the value may move between threads.
unsafe impl<T: Send> Sync for Exclusive<T> {}

impl<T> Exclusive<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            taken: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Returns `None` while another call has it.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        (!self.taken.swap(true, Ordering::Acquire)).then(|| Guard(self))
    }

    /// Returns a guard without a lifetime; `None` while another call has it.
    pub(crate) fn try_keep(self: &Arc<Self>) -> Option<KeptGuard<T>> {
        std::mem::forget(self.try_lock()?);
        Some(KeptGuard(self.clone()))
    }

    /// Waits while another call has it. A release wakes no thread, so this looks at
    /// first often, then each 200 us.
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
        // SAFETY: this is the only guard, so there is no other reference.
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
pub(crate) struct KeptGuard<T>(Arc<Exclusive<T>>);

impl<T> Deref for KeptGuard<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: made of the only guard, which `try_keep` forgot.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for KeptGuard<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and it is borrowed mutably.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for KeptGuard<T> {
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
        let mut owned = shared.try_keep().expect("free");
        *owned = 2;
        assert!(shared.try_lock().is_none() && shared.try_keep().is_none());
        drop(owned);
        assert_eq!(shared.try_lock().map(|value| *value), Some(2));
        assert_eq!(shared.try_keep().map(|value| *value), Some(2));
    }
}
