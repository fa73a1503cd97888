//! Every order of the calls of two writers. Further scenarios, with seals, rotations, steals and three writers, take
//! minutes: `cargo run -p simulator -- --exhaustive small`, or `large`.

use simulator::explore::{Size, explore, scenarios};

#[test]
fn two_writers_in_every_order_of_their_calls_with_deaths_at_each_keep_every_promise() {
    for scenario in scenarios(Size::Quick) {
        let explored = explore(&scenario).unwrap_or_else(|broken| panic!("{broken}"));
        eprintln!("{}: {explored:?}", scenario.name);
        assert!(explored.states > 1_000 && explored.ends > 1, "{}: {explored:?}", scenario.name);
        let [nobody, one, more @ ..] = explored.granted;
        assert_eq!(more, [0, 0], "{}: their regions overlap", scenario.name);
        assert!(one > 0, "{}: somebody gets it", scenario.name);
        assert!(
            nobody == 0 || scenario.deaths > 0,
            "{}: who does not die gets it, or another did",
            scenario.name
        );
    }
}
