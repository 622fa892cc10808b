# shellcheck shell=bash
# Sourced by the scripts, with `root` set to the repository: finds or installs what they need.

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# The usage text is the comment at the head of the script, from its second line to the first line without `#`.
usage() {
	sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
}

# Prints the usage text for -h and --help, and ends the script.
answer_help() {
	case ${1:-} in
	-h | --help) usage && exit 0 ;;
	esac
}

# Ends the script with the usage text on standard error.
misused() {
	usage >&2
	exit 2
}

# Puts cargo into PATH: rustup's own place is not in the PATH of every shell, and under sudo it
# is in the home of the user who called.
find_rust() {
	command -v cargo >/dev/null && return
	PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
	[ -z "${SUDO_USER:-}" ] || PATH=$PATH:$(getent passwd "$SUDO_USER" | cut -d: -f6)/.cargo/bin
	export PATH
	command -v cargo >/dev/null || die "cargo is missing: install Rust from https://rustup.rs"
}

# "${as_caller[@]}" COMMAND: under sudo as the user who called, whose file all that a build
# writes should be.
find_caller() {
	as_caller=()
	if [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ]; then
		as_caller=(sudo -H -u "$SUDO_USER" env "PATH=$PATH")
	fi
}

# need PROGRAM:PACKAGE...: installs the Debian packages of the programs that are missing.
# Programs of /usr/sbin count: it is not in every user's PATH.
need() {
	local pair missing=()
	for pair in "$@"; do
		PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	[ "$(id -u)" = 0 ] || die "missing: ${missing[*]}; run: sudo apt-get install ${missing[*]}"
	command -v apt-get >/dev/null || die "missing: ${missing[*]}; no apt-get here to install them with"
	echo "${0##*/}: installing ${missing[*]}" >&2
	# New package lists only when the present ones do not do.
	apt_install "${missing[@]}" || { apt-get update -q </dev/null >/dev/null 2>&1; apt_install "${missing[@]}"; } ||
		die "missing: ${missing[*]}; apt-get install fails"
}

apt_install() {
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" </dev/null >/dev/null 2>&1
}

# write_between NAME FILE: standard input becomes what stands between <!-- begin NAME --> and <!-- end NAME --> of FILE.
write_between() {
	local new
	new=$(text=$(cat) awk -v begin="<!-- begin $1 -->" -v end="<!-- end $1 -->" '
		$0 == begin { print; print ""; print ENVIRON["text"]; print ""; skip = 1; found = 1 }
		$0 == end { skip = 0 }
		!skip && $0 != begin { print }
		END { exit !found }' "$2") || die "$2 has no <!-- begin $1 -->"
	echo "$new" >"$2"
}
