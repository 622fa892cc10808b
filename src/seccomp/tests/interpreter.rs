//! Runs a program as the kernel does, and checks what the kernel checks when it takes one.

use seccompiler::sock_filter;

/// `struct seccomp_data`, without the instruction pointer.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// AUDIT_ARCH of the caller.
    pub arch: u32,
    /// The number of the call.
    pub number: u32,
    /// Its arguments.
    pub args: [u64; 6],
}

/// The answer of `program`.
pub fn run(program: &[sock_filter], call: &Call) -> u32 {
    let word = |offset: u32| -> u32 {
        let argument = |at: u32| call.args[at as usize / 8];
        match offset {
            0 => call.number,
            4 => call.arch,
            16..64 => match offset % 8 {
                0 => (argument(offset - 16) & 0xffff_ffff) as u32,
                4 => (argument(offset - 16) >> 32) as u32,
                _ => panic!("load at {offset}"),
            },
            _ => panic!("load at {offset}"),
        }
    };
    let (mut accumulator, mut at) = (0_u32, 0_usize);
    loop {
        let instruction = &program[at];
        at += 1;
        let k = instruction.k;
        let mut jump = |taken: bool| at += usize::from(if taken { instruction.jt } else { instruction.jf });
        match instruction.code {
            0x20 => accumulator = word(k),
            0x54 => accumulator &= k,
            0x15 => jump(accumulator == k),
            0x25 => jump(accumulator > k),
            0x35 => jump(accumulator >= k),
            0x05 => at += k as usize,
            0x06 => return k,
            code => panic!("instruction {code:#x}"),
        }
    }
}

/// All jumps stay inside and the last instruction returns; the way from the start never needs more than `depth`.
pub fn check(program: &[sock_filter]) {
    assert!(!program.is_empty() && program.len() <= 4096, "{} instructions", program.len());
    assert_eq!(program.last().unwrap().code, 0x06);
    for (at, instruction) in program.iter().enumerate() {
        let furthest = match instruction.code {
            0x15 | 0x25 | 0x35 => usize::from(instruction.jt.max(instruction.jf)),
            0x05 => instruction.k as usize,
            _ => 0,
        };
        assert!(at + 1 + furthest < program.len() || instruction.code == 0x06);
    }
}
