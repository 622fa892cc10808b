//! What `tare` without a command says on a terminal. Scripts get the help, as ever.
//!
//! World: parent.

/// The first steps, and where the rest is.
pub const WELCOME: &str = "\
tare runs containers from OCI bundles: a directory with config.json and a root filesystem.

  tare spec --docker-default    write config.json for the root filesystem in ./rootfs
  tare run box                  run the program of config.json in the container \"box\"
  tare exec box ps              run another program in it
  tare list                     list the containers
  tare info                     show what this host offers, and what is not possible here

`tare --help` lists all commands, `tare COMMAND --help` the options of one.
";

/// Whether the words of the command line are the program's name alone, and a person reads the answer.
pub fn is_wanted(words: usize) -> bool {
    words <= 1 && rustix::termios::isatty(rustix::stdio::stdout())
}
