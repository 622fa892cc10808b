//! The targets under proptest: inputs of tests/data/corpus, changed a few times.
//!
//! The same inputs in every run and on every machine: a share of each target's `cases`, `TARE_FUZZ_PERCENT` of them.
//! `TARE_FUZZ_SECONDS` tries as many as there is time for instead, and `TARE_FUZZ_SEED` chooses others.

#![allow(clippy::print_stdout, reason = "how much was tried belongs to the result")]

use std::cell::{Cell, RefCell};
use std::panic;
use std::sync::Once;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use rustix::time::{ClockId, clock_gettime};

use super::{TARGETS, Target, mutate};

/// No input may take longer: time of the processor, so that it does not matter how busy the machine is.
const SLOW: Duration = Duration::from_secs(10);

/// A number of inputs is not tried for longer: a machine that is so slow has other tests to come to.
const LONGEST: Duration = Duration::from_secs(90);

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect(name))
}

/// When to stop: after a number of inputs or a time, whatever comes first.
struct Budget {
    cases: u64,
    until: Instant,
}

impl Budget {
    fn of(target: &Target) -> Self {
        let now = Instant::now();
        match from_environment("TARE_FUZZ_SECONDS") {
            Some(seconds) => Self { cases: u64::MAX, until: now + Duration::from_secs(seconds) },
            None => {
                let percent = from_environment("TARE_FUZZ_PERCENT").unwrap_or(5);
                let times = u32::try_from(percent.div_ceil(100)).unwrap_or(u32::MAX);
                Self { cases: (target.cases * percent).div_ceil(100), until: now + LONGEST * times }
            }
        }
    }
}

thread_local! {
    /// Where the last panic of this thread was, while its panics are answers.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of this thread are told as the reason alone, not one by one while the smallest input is looked for.
fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            if !PLACE.with_borrow_mut(|last| last.as_mut().map(|last| *last = place).is_some()) {
                usual(panic);
            }
        }));
    });
    PLACE.set(Some(String::new()));
}

/// Checks one input in time.
fn check(target: &Target, input: &[u8]) -> Result<(), TestCaseError> {
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let began = now();
    (target.check)(input);
    let took = now() - began;
    if took < SLOW { Ok(()) } else { Err(TestCaseError::fail(format!("took {took:?}"))) }
}

/// Every input that is kept, then changed ones.
#[track_caller]
fn run(name: &str) {
    let target = super::find(name).unwrap();
    let seeds = target.seeds();
    for (file, seed) in target.kept().iter().zip(&seeds) {
        panic::catch_unwind(|| (target.check)(seed)).unwrap_or_else(|_| panic!("{name}: by {}", file.display()));
    }
    let budget = Budget::of(target);
    let seed = from_environment("TARE_FUZZ_SEED").unwrap_or(0).to_le_bytes().repeat(4);
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let inputs = (0..seeds.len(), vec(any::<u64>(), 1..12)).prop_map(|(seed, changes)| {
        let change = |input: Vec<u8>, change| mutate(target.shape, &input, change, &seeds);
        changes.into_iter().fold(seeds[seed].clone(), change)
    });
    let count = Cell::new(0_u64);
    silence();
    while count.get() < budget.cases && Instant::now() < budget.until {
        // Each runs its number of cases once.
        let cases = u32::try_from(budget.cases - count.get()).unwrap_or(u32::MAX).min(32);
        let config = Config { failure_persistence: None, cases, max_shrink_iters: 2048, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, random);
        random = runner.new_rng();
        let result = runner.run(&inputs, |input| {
            // Not while the smallest is looked for.
            let broken = PLACE.with_borrow(|place| place.as_deref() != Some(""));
            count.set(count.get() + u64::from(!broken));
            check(target, &input)
        });
        if let Err(TestError::Fail(why, input)) = result {
            let place = PLACE.take().unwrap_or_default();
            let file = keep(target, &input);
            let why: String = why.to_string().chars().take(2000).collect();
            panic!(
                "{name}: input {}: {why}\n{place}\n{:?}\nkeep this as a file in tests/data/corpus/{name}: {file}",
                count.get(),
                String::from_utf8_lossy(&input),
            );
        }
    }
    PLACE.set(None);
    println!("{name}: {} kept inputs, {} changed ones", seeds.len(), count.get());
    if budget.cases != u64::MAX && count.get() < budget.cases {
        println!("{name}: stopped after {LONGEST:?} with {} left", budget.cases - count.get());
    }
}

/// Writes an input where it can be taken from.
fn keep(target: &Target, input: &[u8]) -> String {
    let file = std::env::temp_dir().join(format!("tare-fuzz-{}-{}", target.name, std::process::id()));
    std::fs::write(&file, input).map_or_else(|e| e.to_string(), |()| file.display().to_string())
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
    let accepted = changed.iter().filter(|input| tare::internals::bundle::parse_spec(input).is_ok()).count();
    assert!((40..390).contains(&accepted), "{accepted} of 400 are still configs");
    let different: std::collections::HashSet<_> = changed.iter().collect();
    assert!(different.len() > 350, "{} of 400 differ", different.len());
}
