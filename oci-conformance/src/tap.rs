//! Reads what a validation program printed (Test Anything Protocol) and judges it.
//!
//! A program passes when it exits 0, prints at least one result, prints no `not ok` that is
//! neither SKIP nor TODO, and meets the plan that it announced.

/// What one program's standard output says.
#[derive(Debug, Default)]
pub struct Tap {
    planned: Option<usize>,
    results: usize,
    failures: Vec<String>,
    errors: Vec<String>,
}

impl Tap {
    /// Reads TAP; of the blocks of diagnostics only what they call an error.
    pub fn parse(output: &str) -> Tap {
        let mut tap = Tap::default();
        for line in output.lines() {
            if is_result(line, "not ok") {
                tap.results += 1;
                if !is_excused(line) {
                    tap.failures.push(line.to_owned());
                }
            } else if is_result(line, "ok") {
                tap.results += 1;
            } else if let Some(plan) = line.strip_prefix("1..") {
                let digits = plan.split_whitespace().next().unwrap_or_default();
                tap.planned = digits.parse().ok().or(tap.planned);
            } else if let Some(error) = line.trim_start().strip_prefix("\"error\": \"") {
                tap.errors.push(error.trim_end_matches(',').trim_end_matches('"').to_owned());
            }
        }
        tap
    }

    /// The first thing that is wrong, or nothing when the program passed.
    pub fn complaint(&self, exit_code: i32) -> Option<String> {
        if let Some(line) = self.failures.first() {
            let more = match self.failures.len() {
                1 => String::new(),
                n => format!(" (and {} more)", n - 1),
            };
            return Some(format!("{line}{more}"));
        }
        if exit_code != 0 {
            return Some(format!("exit code {exit_code}"));
        }
        match self.planned {
            None => Some("printed no plan".to_owned()),
            Some(n) if n != self.results => Some(format!("planned {n} results, printed {}", self.results)),
            Some(_) => None,
        }
    }
}

impl Tap {
    /// What a program that prints no result at all, in whatever case, says is wrong.
    ///
    /// Seven programs about hooks plan `1..0` and report only in a block of diagnostics: they pass
    /// with every runtime, even with one that cannot create a container.
    pub fn remark(&self) -> Option<&str> {
        (self.results == 0).then(|| self.errors.first()).flatten().map(String::as_str)
    }
}

fn is_result(line: &str, word: &str) -> bool {
    line.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

fn is_excused(line: &str) -> bool {
    line.split_once('#').is_some_and(|(_, directive)| {
        let directive = directive.trim_start().to_ascii_uppercase();
        directive.starts_with("SKIP") || directive.starts_with("TODO")
    })
}

#[cfg(test)]
mod tests {
    use super::Tap;

    #[test]
    fn a_diagnostic_counts_where_there_is_no_result() {
        let said = "  ---\n  {\n    \"error\": \"exit status 1\",\n  }\n  ...\n";
        assert_eq!(Tap::parse(&format!("{said}1..0\n")).remark(), Some("exit status 1"));
        assert_eq!(Tap::parse(&format!("ok 1 - a\n{said}1..1\n")).remark(), None);
        assert_eq!(Tap::parse("1..0\n").remark(), None);
    }

    #[test]
    fn each_way_to_fail_is_named() {
        let table = [
            ("1..1\nok 1 - a\n", 0, None),
            ("ok 1 - a\nnot ok 2 # TODO b\nok 3 # SKIP c\n1..3\n", 0, None),
            ("1..1\nok 1 - a\n  ---\n  not ok in a block\n  ...\n", 0, None),
            ("1..2\nok 1 - a\nnot ok 2 - b\n", 0, Some("not ok 2 - b")),
            ("not ok 1 - a\nnot ok 2 - b\n1..2\n", 1, Some("not ok 1 - a (and 1 more)")),
            ("1..1\nok 1 - a\n", 1, Some("exit code 1")),
            ("1..2\nok 1 - a\n", 0, Some("planned 2 results, printed 1")),
            ("ok 1 - a\n", 0, Some("printed no plan")),
            ("", 0, Some("printed no plan")),
            ("1..1\nokay 1\n", 0, Some("planned 1 results, printed 0")),
        ];
        for (output, exit_code, complaint) in table {
            assert_eq!(Tap::parse(output).complaint(exit_code).as_deref(), complaint, "{output}");
        }
    }
}
