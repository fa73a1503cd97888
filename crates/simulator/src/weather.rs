//! How much goes wrong in a run: each seed has weather of its own, some of it calm, so that rare orders of events
//! are not drowned by common ones.

use journal::index::INDEX_FROM_BYTES;
use testkit::rng::Rng;

/// How often what happens: once in so many chances; 0 is never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Branches that work at once.
    pub branches: usize,
    /// Whether some of them are in another pid namespace, so that nobody can tell whether their processes live.
    pub two_namespaces: bool,
    /// TTL of the mutex in milliseconds; 0 means that nobody waits for it.
    pub mutex_ttl_ms: u64,
    /// A process is killed before a call, or inside an append.
    pub kill: usize,
    /// A process is stopped before a call.
    pub stop: usize,
    /// A call fails.
    pub fail: usize,
    /// A sync fails.
    pub fail_sync: usize,
    /// The power fails.
    pub power: usize,
    /// A process that a lease is bound to dies.
    pub death: usize,
    /// The wall clock is set.
    pub clock: usize,
    /// Minutes or hours pass.
    pub long: usize,
    /// The disk becomes full, or has room again.
    pub full: usize,
    /// A bit of the journal flips. At most one does in a run.
    pub rot: usize,
    /// One request in so many waits in the line.
    pub waits: usize,
    /// Branches compact and verify more often than they work.
    pub operators: bool,
    /// Branches take leases of others over and end them, and sweep.
    pub meddling: bool,
    /// From how many bytes on segments are read by their index.
    pub index_from: u64,
}

impl Weather {
    /// The weather of a seed, whose chances come from `rng`.
    pub fn of(seed: u64, rng: &mut Rng) -> Weather {
        let mut kind = |often: &[usize]| if rng.one_in(2) { often[rng.below(often.len())] } else { 0 };
        let mut weather = Weather {
            kill: kind(&[20, 60, 200]),
            stop: kind(&[15, 50, 150]),
            fail: kind(&[20, 60, 150]),
            fail_sync: kind(&[3, 10]),
            power: kind(&[60, 150, 400]),
            death: kind(&[50, 150]),
            clock: kind(&[60, 200]),
            long: kind(&[80, 300]),
            full: kind(&[60, 200]),
            rot: kind(&[150, 300]),
            ..Weather::default()
        };
        weather.branches = 2 + rng.below(5);
        weather.two_namespaces = rng.one_in(4);
        weather.mutex_ttl_ms = [0, 0, 50, 1_000, 10_000][rng.below(5)];
        weather.operators = rng.one_in(4);
        weather.waits = [2, 5, 5, 5][rng.below(4)];
        // By a chance of its own: the other half of the seeds are the runs that they were before there was meddling.
        weather.meddling = Rng::new(!seed).one_in(2);
        weather.index_from = if Rng::new(!seed ^ 0xfeed).one_in(2) { 0 } else { INDEX_FROM_BYTES };
        if weather.rot > 0 {
            // Behind a mark that a power cut took, or bytes that a failed sync lost, rot at the very end of the
            // journal proves nothing: docs/safety.md, known limits. Each of them alone is noticed.
            weather.power = 0;
            weather.fail_sync = 0;
            weather.fail = 0;
        }
        weather
    }
}
