//! World: plan. The six lists of hooks, ready to be executed. Source: runtime-spec config.md, "POSIX-platform Hooks".

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_spec::runtime::{Hook as Asked, Spec};

use crate::annotation::annotation;
use crate::error::{Code, Error, Result, c_string};
use crate::sys::exec::Strings;

/// All hooks of a config, in the order in which they are asked for.
#[derive(Debug, Default)]
pub struct HookPlan {
    /// During create, in the runtime's namespaces; deprecated.
    pub prestart: Vec<Hook>,
    /// During create, in the runtime's namespaces.
    pub create_runtime: Vec<Hook>,
    /// During create, in the container's namespaces, before pivot_root.
    pub create_container: Vec<Hook>,
    /// During start, in the container, before the program.
    pub start_container: Vec<Hook>,
    /// After start, in the runtime's namespaces.
    pub poststart: Vec<Hook>,
    /// After delete, in the runtime's namespaces.
    pub poststop: Vec<Hook>,
}

impl HookPlan {
    /// Whether create has hooks to run before pivot_root.
    #[must_use]
    pub fn before_pivot(&self) -> bool {
        !(self.prestart.is_empty() && self.create_runtime.is_empty() && self.create_container.is_empty())
    }

    /// Whether there is no hook at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.before_pivot() && self.start_container.is_empty() && self.poststart.is_empty() && self.poststop.is_empty()
    }
}

/// One hook.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Its list in the config: `createRuntime`.
    pub list: &'static str,
    /// Its place in the list.
    pub index: usize,
    /// The program.
    pub path: CString,
    /// argv, the path itself if the config has none.
    pub args: Strings,
    /// The whole environment; `None` if the config has none: that of whoever starts the hook.
    pub env: Option<Strings>,
    /// How long it may run; `None` is for ever.
    pub timeout: Option<Duration>,
    /// Files that its output is appended to.
    pub output: Output,
}

impl Hook {
    /// Its path in config.json: `hooks.createRuntime[0]`.
    #[must_use]
    pub fn at(&self) -> String {
        format!("hooks.{}[{}]", self.list, self.index)
    }
}

/// Where the output of all hooks goes, by the annotations that crun introduced; `None`: stdout to /dev/null, the end
/// of stderr into the error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// run.oci.hooks.stdout.
    pub stdout: Option<PathBuf>,
    /// run.oci.hooks.stderr.
    pub stderr: Option<PathBuf>,
}

/// Plans the hooks of `spec`.
///
/// # Errors
/// A path that is not absolute, a timeout that is not positive, an environment entry without a name, a NUL anywhere.
pub fn plan(spec: &Spec) -> Result<HookPlan> {
    let Some(hooks) = spec.hooks() else { return Ok(HookPlan::default()) };
    let output = output(spec)?;
    #[allow(deprecated, reason = "the spec still demands it")]
    let prestart = hooks.prestart();
    Ok(HookPlan {
        prestart: list("prestart", prestart.as_deref(), &output)?,
        create_runtime: list("createRuntime", hooks.create_runtime().as_deref(), &output)?,
        create_container: list("createContainer", hooks.create_container().as_deref(), &output)?,
        start_container: list("startContainer", hooks.start_container().as_deref(), &output)?,
        poststart: list("poststart", hooks.poststart().as_deref(), &output)?,
        poststop: list("poststop", hooks.poststop().as_deref(), &output)?,
    })
}

fn list(name: &'static str, asked: Option<&[Asked]>, output: &Output) -> Result<Vec<Hook>> {
    let hooks = asked.unwrap_or_default().iter().enumerate();
    hooks.map(|(index, asked)| hook(name, index, asked, output)).collect()
}

fn hook(list: &'static str, index: usize, asked: &Asked, output: &Output) -> Result<Hook> {
    let at = |field: &str| format!("hooks.{list}[{index}].{field}");
    let path = absolute(asked.path(), at("path"), "the path of a hook")?;
    let args = match asked.args().as_deref() {
        None | Some([]) => vec![path.clone()],
        Some(args) => strings(args, "args", at)?,
    };
    let env = asked.env().as_deref();
    let entries = env.unwrap_or_default();
    if let Some(position) = entries.iter().position(|entry| entry.find('=').is_none_or(|place| place == 0)) {
        let what = format!("invalid environment variable: {:?}", entries[position]);
        return Err(Error::refused(Code::HookInvalid, at(&format!("env[{position}]")), what)
            .hint("an entry has the form NAME=value"));
    }
    let env = env.map(|env| strings(env, "env", at)).transpose()?;
    Ok(Hook {
        list,
        index,
        path,
        args: Strings::new(args),
        env: env.map(Strings::new),
        timeout: asked.timeout().map(|seconds| timeout(seconds, at("timeout"))).transpose()?,
        output: output.clone(),
    })
}

fn timeout(seconds: i64, at: String) -> Result<Duration> {
    match u64::try_from(seconds) {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(Error::refused(Code::HookInvalid, at, format!("{seconds} is not greater than 0"))
            .hint("leave it out for no timeout")),
    }
}

fn strings(list: &[String], field: &str, at: impl Fn(&str) -> String) -> Result<Vec<CString>> {
    let string = |(i, text): (usize, &String)| c_string(text.as_bytes(), || at(&format!("{field}[{i}]")));
    list.iter().enumerate().map(string).collect()
}

fn absolute(path: &Path, at: String, noun: &str) -> Result<CString> {
    if !path.is_absolute() {
        return Err(Error::refused(
            Code::HookInvalid,
            at,
            format!("{noun} must be absolute: {:?}", path.display().to_string()),
        ));
    }
    c_string(path.as_os_str().as_bytes(), || at)
}

fn output(spec: &Spec) -> Result<Output> {
    let file = |key: &str| -> Result<Option<PathBuf>> {
        let Some(path) = annotation(spec, key) else { return Ok(None) };
        absolute(Path::new(path), format!("annotations[\"{key}\"]"), "the file for the output of hooks")?;
        Ok(Some(PathBuf::from(path)))
    };
    Ok(Output { stdout: file("run.oci.hooks.stdout")?, stderr: file("run.oci.hooks.stderr")? })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn planned(config: Value) -> Result<HookPlan> {
        let mut whole = json!({"ociVersion": "1.3.0"});
        whole.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        plan(&serde_json::from_value(whole).unwrap())
    }

    #[test]
    fn every_list_is_planned() {
        let hook = |name: &str| json!([{"path": format!("/bin/{name}")}]);
        let plan = planned(json!({"hooks": {
            "prestart": hook("a"), "createRuntime": hook("b"), "createContainer": hook("c"),
            "startContainer": hook("d"), "poststart": hook("e"), "poststop": hook("f"),
        }}))
        .unwrap();
        let lists = [
            &plan.prestart,
            &plan.create_runtime,
            &plan.create_container,
            &plan.start_container,
            &plan.poststart,
            &plan.poststop,
        ];
        let paths: Vec<&[u8]> = lists.iter().map(|list| list[0].path.as_bytes()).collect();
        assert_eq!(paths, [b"/bin/a", b"/bin/b", b"/bin/c", b"/bin/d", b"/bin/e", b"/bin/f"]);
        assert_eq!(plan.start_container[0].at(), "hooks.startContainer[0]");
        assert!(!plan.is_empty());
        assert!(planned(json!({})).unwrap().is_empty());
        assert!(planned(json!({"hooks": {"poststop": []}})).unwrap().is_empty());
    }

    #[test]
    fn arguments_and_environment_are_the_configs_own() {
        let plan = planned(json!({"hooks": {"poststop": [
            {"path": "/bin/x"},
            {"path": "/bin/x", "args": [], "env": []},
            {"path": "/bin/x", "args": ["y", "z"], "env": ["A=1", "B="], "timeout": 3},
        ]}}))
        .unwrap();
        let of = |i: usize| &plan.poststop[i];
        for i in [0, 1] {
            assert_eq!(of(i).args.as_slice(), [c"/bin/x".to_owned()]);
            assert_eq!(of(i).timeout, None);
        }
        assert!(of(0).env.is_none());
        assert!(of(1).env.as_ref().unwrap().as_slice().is_empty());
        assert_eq!(of(2).args.as_slice(), [c"y".to_owned(), c"z".to_owned()]);
        assert_eq!(of(2).env.as_ref().unwrap().as_slice(), [c"A=1".to_owned(), c"B=".to_owned()]);
        assert_eq!(of(2).timeout, Some(Duration::from_secs(3)));
    }

    #[test]
    fn refusals_name_the_field() {
        for (hook, expected) in [
            (json!({"path": "bin/x"}), ".path: the path of a hook must be absolute: \"bin/x\""),
            (json!({"path": ""}), ".path: the path of a hook must be absolute: \"\""),
            (json!({"path": "/bin/\0"}), ".path: contains a NUL character"),
            (json!({"path": "/x", "args": ["a", "b\0"]}), ".args[1]: contains a NUL character"),
            (json!({"path": "/x", "env": ["A=1", "B"]}), ".env[1]: invalid environment variable: \"B\""),
            (json!({"path": "/x", "env": ["=1"]}), ".env[0]: invalid environment variable: \"=1\""),
            (json!({"path": "/x", "env": ["A=\0"]}), ".env[0]: contains a NUL character"),
            (json!({"path": "/x", "timeout": 0}), ".timeout: 0 is not greater than 0"),
            (json!({"path": "/x", "timeout": -5}), ".timeout: -5 is not greater than 0"),
        ] {
            let error = planned(json!({"hooks": {"createRuntime": [{"path": "/a"}, hook]}})).unwrap_err().to_string();
            assert!(error.starts_with(&format!("hooks.createRuntime[1]{expected}")), "{error}");
        }
    }

    #[test]
    fn output_files_come_from_annotations() {
        let hooks = json!({"poststop": [{"path": "/x"}]});
        let with = |path: &str| planned(json!({"hooks": hooks, "annotations": {"run.oci.hooks.stderr": path}}));
        let output = with("/var/log/x").unwrap().poststop[0].output.clone();
        assert_eq!(output, Output { stdout: None, stderr: Some("/var/log/x".into()) });
        let error = with("log").unwrap_err().to_string();
        assert!(
            error.starts_with("annotations[\"run.oci.hooks.stderr\"]: the file for the output of hooks"),
            "{error}"
        );
    }
}
