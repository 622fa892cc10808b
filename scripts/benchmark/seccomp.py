"""Compiles the docker bundle's seccomp profile for the floor, which installs a
finished program: compiling is a runtime's work, loading is the kernel's.

The program is built from its end: a jump then knows its target. Numbers with
one action are merged into ranges and searched as a balanced tree whose leaves
share their returns, so that the kernel checks and translates few instructions.
"""

import re
import struct
from pathlib import Path

import bundle

HEADERS = Path("/usr/include/x86_64-linux-gnu/asm")
X86_64, I386 = 0xC000003E, 0x40000003
X32_BIT = 0x40000000

LOAD, AND, JUMP, EQUAL, GREATER, AT_LEAST, RETURN = 0x20, 0x54, 0x05, 0x15, 0x25, 0x35, 0x06
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
# Offsets in struct seccomp_data.
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
FARTHEST = 255  # a conditional jump's offset is one byte


class Program:
    """Instructions from the last to the first; a label is an index into them."""

    def __init__(self):
        self.instructions = []
        self.returns = {}

    def emit(self, code, value, when_true=0, when_false=0):
        self.instructions.append((code, when_true, when_false, value))
        return len(self.instructions) - 1

    def distance(self, label):
        return len(self.instructions) - label - 1

    def result(self, value):
        """A return near enough for the next two instructions to jump to it."""
        label = self.returns.get(value)
        if label is None or self.distance(label) > FARTHEST - 2:
            label = self.returns[value] = self.emit(RETURN, value)
        return label

    def reach(self, label):
        return label if self.distance(label) <= FARTHEST - 2 else self.emit(JUMP, self.distance(label))

    def branch(self, code, value, when_true, when_false):
        when_true, when_false = self.reach(when_true), self.reach(when_false)
        return self.emit(code, value, self.distance(when_true), self.distance(when_false))

    def compare_word(self, offset, mask, value, equal, other):
        if mask == 0:
            return equal if value == 0 else other
        self.branch(EQUAL, value, equal, other)
        if mask != 0xFFFFFFFF:
            self.emit(AND, mask)
        return self.emit(LOAD, offset)

    def compare_equal(self, offset, mask, value, equal, other, wide):
        label = self.compare_word(offset, mask & 0xFFFFFFFF, value & 0xFFFFFFFF, equal, other)
        return self.compare_word(offset + 4, mask >> 32, value >> 32, label, other) if wide else label

    def compare_order(self, offset, code, value, holds, other, wide):
        """Branch to `holds` when the argument is > (GREATER) or >= (AT_LEAST) the value."""
        self.branch(code, value & 0xFFFFFFFF, holds, other)
        label = self.emit(LOAD, offset)
        if wide:
            equal = self.branch(EQUAL, value >> 32, label, other)
            self.branch(GREATER, value >> 32, holds, equal)
            label = self.emit(LOAD, offset + 4)
        return label

    def compare(self, rule, then, other, wide):
        offset, value = ARGUMENTS + 8 * rule["index"], rule["value"]
        everything = 0xFFFFFFFFFFFFFFFF
        match rule["op"]:
            case "SCMP_CMP_EQ":
                return self.compare_equal(offset, everything, value, then, other, wide)
            case "SCMP_CMP_NE":
                return self.compare_equal(offset, everything, value, other, then, wide)
            case "SCMP_CMP_MASKED_EQ":
                return self.compare_equal(offset, value, rule.get("valueTwo", 0), then, other, wide)
            case "SCMP_CMP_GT":
                return self.compare_order(offset, GREATER, value, then, other, wide)
            case "SCMP_CMP_LE":
                return self.compare_order(offset, GREATER, value, other, then, wide)
            case "SCMP_CMP_GE":
                return self.compare_order(offset, AT_LEAST, value, then, other, wide)
            case "SCMP_CMP_LT":
                return self.compare_order(offset, AT_LEAST, value, other, then, wide)

    def leaf(self, rules, default, wide):
        """Try the rules in turn; each is (action, conditions that must all hold)."""
        label = self.result(default)
        for action, conditions in reversed(rules):
            target, other = self.result(action), label
            for condition in reversed(conditions):
                target = self.compare(condition, target, other, wide)
            label = target
        return label

    def search(self, ranges, default, wide):
        """Branch on the number in the accumulator."""
        if len(ranges) == 1:
            return self.leaf(ranges[0][1], default, wide)
        middle = len(ranges) // 2
        high = self.search(ranges[middle:], default, wide)
        low = self.search(ranges[:middle], default, wide)
        return self.branch(AT_LEAST, ranges[middle][0], high, low)

    def bytes(self):
        return b"".join(struct.pack("<HBBI", *instruction) for instruction in reversed(self.instructions))


def action_value(rule):
    return ALLOW if rule["action"] == "SCMP_ACT_ALLOW" else ERRNO | rule.get("errnoRet", 1)


def numbers(header, bit=0):
    pattern = r"#define __NR_(\w+)\s+\(?(?:__X32_SYSCALL_BIT \+ )?(\d+)\)?"
    return {name: int(number) | bit for name, number in re.findall(pattern, (HEADERS / header).read_text())}


def ranges_of(profile, table, first):
    """Return [(first number, rules)] in order, from `first` on; no rules is the default."""
    by_number = {}
    for rule in profile["syscalls"]:
        for name in rule["names"]:
            if name in table:
                by_number.setdefault(table[name], []).append((action_value(rule), rule.get("args", [])))
    ranges = [(first, [])]
    for number in range(first, max(table.values()) + 2):
        rules = by_number.get(number, [])
        # One rule without conditions decides alone.
        rules = [rule for rule in rules if not rule[1]][:1] or rules
        if rules != ranges[-1][1]:
            ranges.append((number, rules))
    return ranges


def compile_filter(profile):
    program, default = Program(), ERRNO | profile["defaultErrnoRet"]
    tables = {"i386": (numbers("unistd_32.h"), 0, False), "x32": (numbers("unistd_x32.h", X32_BIT), X32_BIT, True),
              "x86_64": (numbers("unistd_64.h"), 0, True)}
    entries = {}
    for name, (table, first, wide) in tables.items():
        entries[name] = program.search(ranges_of(profile, table, first), default, wide)
        if name == "i386":
            entries[name] = program.emit(LOAD, NUMBER)
    program.branch(AT_LEAST, X32_BIT, entries["x32"], entries["x86_64"])
    native = program.emit(LOAD, NUMBER)
    foreign = program.branch(EQUAL, I386, entries["i386"], program.result(KILL))
    program.branch(EQUAL, X86_64, native, foreign)
    program.emit(LOAD, ARCHITECTURE)
    return program.bytes()


def write_filter(path):
    path.write_bytes(compile_filter(bundle.docker("")["linux"]["seccomp"]))
    return path
