//! How many places each has of what all share.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Places that are taken, by who takes them. Clones share the count; who has none takes no memory.
#[derive(Debug)]
pub struct Places<K>(Arc<Mutex<HashMap<K, usize>>>);

/// One place among those of its owner, until it is dropped.
#[derive(Debug)]
pub struct Place<K: Eq + Hash> {
    places: Places<K>,
    owner: K,
}

impl<K> Clone for Places<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Default for Places<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Clone + Eq + Hash> Places<K> {
    /// One more place for `owner`; `None` when it has `limit` already.
    pub fn admit(&self, owner: K, limit: usize) -> Option<Place<K>> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.get(&owner).is_some_and(|count| *count >= limit) || limit == 0 {
            return None;
        }
        *counts.entry(owner.clone()).or_default() += 1;
        Some(Place {
            places: self.clone(),
            owner,
        })
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut counts = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_given_back_is_free() {
        let places = Places::default();
        let held = [places.admit("ann", 2), places.admit("ann", 2)];
        assert!(held.iter().all(Option::is_some));
        assert!(places.admit("ann", 2).is_none());
        assert!(
            places.admit("bob", 2).is_some(),
            "others have places of their own"
        );
        assert!(places.admit("bob", 0).is_none());
        drop(held);
        assert!(
            places.0.lock().unwrap().is_empty(),
            "who has no place takes no memory"
        );
        assert!(places.admit("ann", 2).is_some());
    }
}
