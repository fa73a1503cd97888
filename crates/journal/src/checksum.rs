//! The CRC-32 (IEEE) of everything that the journal writes.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How much a process sums up with tables alone, before the processor is asked for something faster.
///
/// The question takes 30 µs on a virtual machine, where each `CPUID` leaves it, and a short call has little to sum up.
/// Tables take as long for this much.
const ASK_AFTER: usize = 64 << 10;

static TABLES: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISO_HDLC);

static SUMMED_UP: AtomicUsize = AtomicUsize::new(0);

/// The checksum of `bytes`. Both ways to it give the same.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    if SUMMED_UP.load(Ordering::Relaxed) > ASK_AFTER {
        return crc32fast::hash(bytes);
    }
    SUMMED_UP.fetch_add(bytes.len(), Ordering::Relaxed);
    TABLES.checksum(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_ways_give_the_same(bytes: Vec<u8>) {
            prop_assert_eq!(TABLES.checksum(&bytes), crc32fast::hash(&bytes));
        }
    }

    #[test]
    fn the_check_value_of_the_polynomial() {
        let long = b"123456789".repeat(ASK_AFTER);
        for _ in 0..2 {
            assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
            assert_eq!(crc32(&long), crc32fast::hash(&long));
        }
    }
}
