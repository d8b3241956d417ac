//! Chance that a seed decides, so that a plan can be made again.

use std::ops::Range;

/// SplitMix64.
pub struct Random(u64);

impl Random {
    /// What `seed` decides for `whom`: each has chances of their own, however many the others take.
    pub fn new(seed: u64, whom: u64) -> Self {
        let mut random = Self(seed ^ whom.wrapping_mul(0xd134_2543_de82_ef95));
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    pub fn one_in(&mut self, number: u64) -> bool {
        self.within(0..number) == 0
    }

    pub fn index(&mut self, length: usize) -> usize {
        self.within(0..length as u64) as usize
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}
