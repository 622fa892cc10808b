//! Entry: parse, dispatch, print one error line, exit code.

fn main() {
    let code = tare::cli::run(std::env::args_os().collect());
    std::process::exit(code);
}
