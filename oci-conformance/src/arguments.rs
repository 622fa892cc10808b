//! The command line of the runner.

use std::path::PathBuf;
use std::time::Duration;

/// What is printed when the command line makes no sense.
pub const USAGE: &str = "\
usage: oci-conformance run [OPTION]... RUNTIME
       oci-conformance build     build the suite into the cache, print its directory
       oci-conformance list      print what is expected of each program
options of run:
  --built DIR          use this built suite, build and install nothing
  --filter SUBSTRING   run only programs whose name contains it (may be repeated)
  --baseline           print the results of a reference runtime without judging them
  --jobs N             programs at a time (default 4: they mostly sleep)
  --time-limit SECONDS for each program (default 60, times the load of the machine)
  --logs DIR           keep what each program printed
  --json FILE          write the results as JSON too";

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Request {
    /// Run the suite.
    Run(Run),
    /// Build the suite.
    Build,
    /// Print the expectations.
    List,
    /// Second process of a program's sandbox.
    Sandbox(Job, Duration),
    /// Third process of a program's sandbox, pid 1 in it; with the path of its cgroup.
    Inside(Job, String),
}

/// One program to be run with one runtime, as it is handed from process to process.
#[derive(Debug, PartialEq)]
pub struct Job {
    /// Path of the runtime.
    pub runtime: String,
    /// Path of the program.
    pub program: String,
    /// Whether each `start` is followed by a pause.
    pub pause: bool,
}

impl Job {
    /// The job as arguments of a command line.
    pub fn words(&self) -> [&str; 3] {
        [&self.runtime, &self.program, if self.pause { "pause" } else { "-" }]
    }

    fn from_words(words: &[String]) -> Option<Job> {
        let [runtime, program, pause] = words else { return None };
        Some(Job { runtime: runtime.clone(), program: program.clone(), pause: pause == "pause" })
    }
}

/// Options of `run`.
#[derive(Debug, Default, PartialEq)]
pub struct Run {
    /// Path or name of the runtime.
    pub runtime: String,
    /// A suite built before.
    pub built: Option<PathBuf>,
    /// Parts of program names; empty means all.
    pub filters: Vec<String>,
    /// Print without judging.
    pub baseline: bool,
    /// Programs at a time.
    pub jobs: Option<usize>,
    /// Limit for one program.
    pub time_limit: Option<Duration>,
    /// Directory for the programs' output.
    pub logs: Option<PathBuf>,
    /// File for the results.
    pub json: Option<PathBuf>,
}

/// Reads the command line; `None` when it makes no sense.
pub fn parse(arguments: &[String]) -> Option<Request> {
    let (command, rest) = arguments.split_first()?;
    match (command.as_str(), rest) {
        ("build", []) => Some(Request::Build),
        ("list", []) => Some(Request::List),
        ("run", rest) => parse_run(rest).map(Request::Run),
        ("sandbox", [rest @ .., seconds]) => Some(Request::Sandbox(Job::from_words(rest)?, parse_seconds(seconds)?)),
        ("inside", [rest @ .., subtree]) => Some(Request::Inside(Job::from_words(rest)?, subtree.clone())),
        _ => None,
    }
}

fn parse_run(arguments: &[String]) -> Option<Run> {
    let mut run = Run::default();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--baseline" => run.baseline = true,
            "--built" => run.built = Some(words.next()?.into()),
            "--filter" => run.filters.push(words.next()?.clone()),
            "--jobs" => run.jobs = Some(words.next()?.parse().ok().filter(|jobs| *jobs > 0)?),
            "--time-limit" => run.time_limit = Some(parse_seconds(words.next()?)?),
            "--logs" => run.logs = Some(words.next()?.into()),
            "--json" => run.json = Some(words.next()?.into()),
            option if option.starts_with('-') => return None,
            runtime if run.runtime.is_empty() => run.runtime = runtime.to_owned(),
            _ => return None,
        }
    }
    (!run.runtime.is_empty()).then_some(run)
}

fn parse_seconds(word: &str) -> Option<Duration> {
    word.parse().ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::{Request, Run, parse};

    fn request(line: &str) -> Option<Request> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_may_stand_before_and_after_the_runtime() {
        let expected = Run {
            runtime: "/bin/tare".to_owned(),
            filters: vec!["kill".to_owned(), "state".to_owned()],
            baseline: true,
            jobs: Some(2),
            ..Run::default()
        };
        let line = "run --filter kill /bin/tare --baseline --jobs 2 --filter state";
        assert_eq!(request(line), Some(Request::Run(expected)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in ["", "run", "run a b", "run --jobs 0 a", "run --filter", "run --nope a", "build x"] {
            assert_eq!(request(line), None, "{line}");
        }
    }
}
