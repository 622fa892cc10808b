//! The targets under proptest: inputs of tests/data/corpus, changed a few times. The same inputs in every run, as many
//! as there is time for: `TARE_FUZZ_SECONDS` for each target, and `TARE_FUZZ_SEED` for others.

#![allow(clippy::print_stdout, reason = "how much was tried belongs to the result")]

use std::cell::Cell;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::{TARGETS, Target, mutate};

/// No input may take longer, on a machine that is busy with other things.
const SLOW: Duration = Duration::from_secs(10);

fn from_environment(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect(name))
}

/// Every input that is kept, then changed ones until the time is over.
#[track_caller]
fn run(name: &str) {
    let target = super::find(name).unwrap();
    let seeds = target.seeds();
    seeds.iter().for_each(|seed| (target.check)(seed));
    let until = Instant::now() + Duration::from_secs(from_environment("TARE_FUZZ_SECONDS", 1));
    let seed = from_environment("TARE_FUZZ_SEED", 0).to_le_bytes().repeat(4);
    let config = Config { failure_persistence: None, cases: 32, ..Config::default() };
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let inputs = (0..seeds.len(), vec(any::<u64>(), 1..12)).prop_map(|(seed, changes)| {
        let change = |input: Vec<u8>, change| mutate(target.shape, &input, change, &seeds);
        changes.into_iter().fold(seeds[seed].clone(), change)
    });
    let count = Cell::new(0_u64);
    while Instant::now() < until {
        // Each runs its number of cases once.
        let mut runner = TestRunner::new_with_rng(config.clone(), random);
        random = runner.new_rng();
        let result = runner.run(&inputs, |input| {
            count.set(count.get() + 1);
            let began = Instant::now();
            (target.check)(&input);
            let took = began.elapsed();
            if took < SLOW { Ok(()) } else { Err(TestCaseError::fail(format!("took {took:?}"))) }
        });
        if let Err(TestError::Fail(why, input)) = result {
            panic!("{name}: {why}\nkeep this as a file in tests/data/corpus/{name}:\n{}", show(target, &input));
        }
    }
    println!("{name}: {} kept inputs, {} changed ones", seeds.len(), count.get());
}

fn show(target: &Target, input: &[u8]) -> String {
    let file = std::env::temp_dir().join(format!("tare-fuzz-{}-{}", target.name, std::process::id()));
    let kept = std::fs::write(&file, input).map_or_else(|e| e.to_string(), |()| file.display().to_string());
    format!("{kept}\n{:?}", String::from_utf8_lossy(input))
}

macro_rules! properties {
    ($($test:ident $name:literal)*) => {
        $(#[test]
        fn $test() {
            run($name);
        })*

        #[test]
        fn every_target_is_run() {
            let run = [$($name),*];
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, run);
        }
    };
}

properties! {
    config "config"
    process "process"
    resources "resources"
    record "record"
    seccomp "seccomp"
    arguments "arguments"
    words "words"
    options "options"
    cgroups_path "cgroups-path"
    annotation "annotation"
    message "message"
}

#[test]
fn changes_reach_every_part_of_an_input() {
    let target = super::find("config").unwrap();
    let seeds = target.seeds();
    let spec = &seeds[seeds.len() - 1];
    let changed: Vec<Vec<u8>> = (0..400).map(|seed| mutate(target.shape, spec, seed, &seeds)).collect();
    let accepted = changed.iter().filter(|input| crate::bundle::parse_spec(input).is_ok()).count();
    assert!((40..390).contains(&accepted), "{accepted} of 400 are still configs");
    let different: std::collections::HashSet<_> = changed.iter().collect();
    assert!(different.len() > 350, "{} of 400 differ", different.len());
}
