# shellcheck shell=bash disable=SC2154
# Sourced by nested: the root directory of a container that has engines and tare in it, made of this machine's programs.

programs=(bash mount umount ip nft xtables-nft-multi iptables-nft ip6tables-nft iptables ip6tables dockerd docker docker-init docker-proxy containerd
	containerd-shim-runc-v2 podman conmon netavark aardvark-dns pasta fuse-overlayfs fusermount3 newuidmap newgidmap
	catatonit busybox tare)

# files_of PROGRAM...: their paths, those of their libraries, and where symbolic links lead, without a leading slash.
files_of() {
	local file
	for file in $(ldd "$@" 2>/dev/null | grep -o '/[^ :]*\.so[^ :]*') "$@"; do
		realpath --no-symlinks "$(realpath "${file%/*}")/${file##*/}"
		realpath "$file"
	done | sort -u | sed 's|^/||'
}

# fill_root DIRECTORY: programs of coreutils and the like are those of busybox.
fill_root() {
	local root=$1 name found=() file
	mkdir -p "$root"/{dev,proc,sys,run,tmp,var/tmp,var/lib,root,home/user,etc/docker,etc/containers,usr/bin,usr/sbin,usr/lib,usr/lib64}
	chmod 1777 "$root/tmp" "$root/var/tmp"
	for name in bin sbin lib lib64; do ln -s usr/$name "$root/$name"; done
	for name in "${programs[@]}"; do
		found+=("$(PATH=/usr/local/bin:/usr/bin:/usr/sbin:/usr/libexec/podman:/usr/lib/podman:/usr/libexec/docker type -P "$name")")
	done
	{
		files_of "${found[@]}"
		cd / && find usr/lib/*/xtables usr/share/containers etc/alternatives/ip*tables etc/containers/*.json etc/nsswitch.conf
	} | sort -u | tar -C / -cf - --no-recursion -T - | tar -C "$root" -xf -
	chroot "$root" /usr/bin/busybox sh -c 'for name in $(/usr/bin/busybox --list); do
		[ -e /usr/bin/$name ] || [ -e /usr/sbin/$name ] || echo $name; done' |
		while read -r name; do ln "$root/usr/bin/busybox" "$root/usr/bin/$name"; done
	cp /opt/images/busybox.tar "$root/busybox.tar"
	configure "$root"
	bundles "$root"
}

# configure ROOT: users with subordinate ids within the 65536 that a rootless engine gives, and engines that use tare.
configure() {
	printf '%s\n' root:x:0:0:root:/root:/bin/bash nobody:x:65534:65534::/:/bin/false user:x:1000:1000::/home/user:/bin/bash \
		>"$1/etc/passwd"
	printf '%s\n' root:x:0: docker:x:999: nogroup:x:65534: user:x:1000: >"$1/etc/group"
	printf '%s\n' root:1:65535 user:1:999 user:1001:64535 | tee "$1/etc/subuid" >"$1/etc/subgid"
	chown 1000:1000 "$1/home/user"
	chmod u-s "$1"/usr/bin/new[ug]idmap
	setcap cap_setuid=ep "$1/usr/bin/newuidmap" && setcap cap_setgid=ep "$1/usr/bin/newgidmap"
	echo '{ "default-runtime": "tare", "storage-driver": "vfs", "runtimes": { "tare": { "path": "/usr/local/bin/tare" } } }' \
		>"$1/etc/docker/daemon.json"
	printf '[storage]\ndriver = "vfs"\n' >"$1/etc/containers/storage.conf"
	cat >"$1/etc/containers/containers.conf" <<-TOML
		[engine]
		runtime = "tare"
		cgroup_manager = "cgroupfs"
		events_logger = "file"
		runtime_supports_json = ["tare"]
		runtime_supports_nocgroup = ["tare"]
		[engine.runtimes]
		tare = ["/usr/local/bin/tare"]
	TOML
	install -m 755 "$repository/tests/vm/engines/nested-inside" "$1/usr/bin/inside"
}

# bundles ROOT: /BUNDLE, and /LIMITED, which differs in a limit.
bundles() {
	"$repository/scripts/bundle" "$1/BUNDLE" sh -c 'echo $$ inside' >/dev/null
	chmod -R a+rX "$1/BUNDLE"
	mkdir "$1/LIMITED"
	jq '.root.path = "/BUNDLE/rootfs" | .linux.resources.memory.limit = 67108864' "$1/BUNDLE/config.json" \
		>"$1/LIMITED/config.json"
}
