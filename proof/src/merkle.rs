//! Merkle trees as in RFC 6962, section 2.1, with SHA-256.

use log_format::Hash;
use sha2::{Digest, Sha256};

/// Precedes a leaf's data, so that no node passes for a leaf.
const LEAF_PREFIX: u8 = 0;
/// Precedes a node's two hashes.
const NODE_PREFIX: u8 = 1;

/// The hash of a leaf whose data is `data`.
pub fn leaf(data: &[u8]) -> Hash {
    Sha256::new()
        .chain_update([LEAF_PREFIX])
        .chain_update(data)
        .finalize()
        .into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new()
        .chain_update([NODE_PREFIX])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// A tree that grows leaf by leaf and keeps only what its root needs: at most a hash for each power of two in it.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    leaves: u64,
    /// The roots of its whole subtrees, largest first.
    whole: Vec<Hash>,
}

impl Tree {
    /// Adds a leaf by its data.
    pub fn add(&mut self, data: &[u8]) {
        let mut hash = leaf(data);
        // A subtree is whole for each one bit at the end of the number of leaves so far.
        for _ in 0..self.leaves.trailing_ones() {
            if let Some(left) = self.whole.pop() {
                hash = node(&left, &hash);
            }
        }
        self.whole.push(hash);
        self.leaves += 1;
    }

    /// The root; of a tree without leaves, the hash of nothing.
    pub fn root(&self) -> Hash {
        let mut subtrees = self.whole.iter().rev();
        let Some(last) = subtrees.next() else {
            return Sha256::digest([]).into();
        };
        subtrees.fold(*last, |right, left| node(left, &right))
    }
}

/// The root over `leaves`, by their data.
pub fn root<T: AsRef<[u8]>>(leaves: &[T]) -> Hash {
    let mut tree = Tree::default();
    leaves.iter().for_each(|leaf| tree.add(leaf.as_ref()));
    tree.root()
}

/// The audit path of the leaf `index`, counted from 0, as in section 2.1.1: from the leaf up. Empty when there is no such
/// leaf, or no other.
pub fn path<T: AsRef<[u8]>>(leaves: &[T], index: usize) -> Vec<Hash> {
    if index >= leaves.len() || leaves.len() < 2 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let (mut path, other) = match index.checked_sub(left.len()) {
        None => (self::path(left, index), root(right)),
        Some(index) => (self::path(right, index), root(left)),
    };
    path.push(other);
    path
}

/// The root that `path` leads to from the leaf `index` with `data` in a tree of `size` leaves; `None` when it is no path of
/// such a tree (RFC 9162, section 2.1.3.2).
pub fn root_of_path(data: &[u8], index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut index, mut last) = (index, size - 1);
    let mut hash = leaf(data);
    for other in path {
        if last == 0 {
            return None;
        }
        if index & 1 == 1 || index == last {
            hash = node(other, &hash);
            // It has no sibling on the levels where it is the last and even.
            while index & 1 == 0 && index != 0 {
                (index, last) = (index >> 1, last >> 1);
            }
        } else {
            hash = node(&hash, other);
        }
        (index, last) = (index >> 1, last >> 1);
    }
    (last == 0).then_some(hash)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail where it stands")]
mod tests {
    use super::*;
    use crate::hex::{hex, unhex};

    /// Those that certificate transparency's own implementations are tested with.
    const LEAVES: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn known_roots() {
        assert_eq!(
            hex(&root::<&[u8]>(&[])),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for (size, expected) in (1..).zip(ROOTS) {
            assert_eq!(hex(&root(&LEAVES[..size])), expected, "of {size} leaves");
        }
    }

    #[test]
    fn a_known_path() {
        let path: Vec<String> = path(&LEAVES, 0).iter().map(|hash| hex(hash)).collect();
        let expected = [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ];
        assert_eq!(path, expected);
        let path: Vec<Hash> = expected.iter().map(|hash| unhex(hash).unwrap()).collect();
        assert_eq!(root_of_path(LEAVES[0], 0, 8, &path), unhex(ROOTS[7]));
    }

    /// The definition of section 2.1, word for word.
    fn defined(leaves: &[[u8; 2]]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => leaf(one),
            _ => {
                let k = (0..)
                    .map(|power| 1 << power)
                    .take_while(|k| *k < leaves.len())
                    .last()
                    .unwrap();
                node(&defined(&leaves[..k]), &defined(&leaves[k..]))
            }
        }
    }

    fn leaves(size: u8) -> Vec<[u8; 2]> {
        (0..size).map(|leaf| [leaf, size]).collect()
    }

    #[test]
    fn every_path_leads_to_the_root_that_is_defined() {
        for size in 1..=100 {
            let leaves = leaves(size);
            let root = defined(&leaves);
            assert_eq!(super::root(&leaves), root, "of {size} leaves");
            // All of the small ones, some of the large: debug builds hash slowly.
            let step = if size <= 40 { 1 } else { 7 };
            for (index, leaf) in leaves.iter().enumerate().step_by(step) {
                let path = path(&leaves, index);
                assert_eq!(
                    root_of_path(leaf, index as u64, size.into(), &path),
                    Some(root),
                    "leaf {index} of {size}"
                );
                assert!(path.len() <= 7);
            }
        }
    }

    #[test]
    fn nothing_else_leads_there() {
        for size in 1..=20_u8 {
            let leaves = leaves(size);
            let root = Some(super::root(&leaves));
            for (index, leaf) in leaves.iter().enumerate() {
                let (path, at, n) = (path(&leaves, index), index as u64, u64::from(size));
                assert_ne!(root_of_path(b"another", at, n, &path), root);
                for other in (0..n + 2).filter(|other| *other != at) {
                    assert_ne!(
                        root_of_path(leaf, other, n, &path),
                        root,
                        "leaf {index} of {size} as {other}"
                    );
                }
                for changed in 0..path.len() {
                    let mut tampered = path.clone();
                    tampered[changed][changed] ^= 1;
                    assert_ne!(root_of_path(leaf, at, n, &tampered), root);
                    tampered.remove(changed);
                    assert_ne!(root_of_path(leaf, at, n, &tampered), root);
                }
                let longer = [path.as_slice(), &[[0; 32]]].concat();
                assert_ne!(root_of_path(leaf, at, n, &longer), root);
            }
        }
    }
}
