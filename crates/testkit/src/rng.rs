//! Random numbers that are the same every time.

/// xorshift64*: the seed in a failure's message gives the same run again.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The numbers of `seed`.
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `most`.
    ///
    /// # Panics
    ///
    /// Never: 48 bits are a `usize` wherever this runs.
    pub fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.bits() >> 16).expect("48 bits") % most.max(1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}
