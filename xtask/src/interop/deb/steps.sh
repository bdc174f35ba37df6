# The steps of the case `deb`: sh steps.sh AREA PACKAGE, as root, with mounts, network and processes
# of its own.
set -eu
area=$1
package=$2
root=$area/root

fail() {
	echo "deb: $*" >&2
	exit 1
}

variables="PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8"

inside() {
	chroot "$root" env -i $variables "$@"
}

# In the background, as the unit starts it, for want of a systemd in here; `$!` is its own id.
as_service() {
	exec chroot "$root" env -i $variables \
		setpriv --reuid=catamaran --regid=catamaran --clear-groups --no-new-privs \
		--inh-caps=+net_bind_service --ambient-caps=+net_bind_service "$@"
}

# Until the command works, a minute at most.
eventually() {
	for _ in $(seq 300); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.2
	done
	cat "$area/log" >&2
	fail "in vain for a minute: $*"
}

says() {
	curl -s -m 10 "http://127.0.0.1:$1" | grep -q "$2"
}

mount -t tmpfs tmpfs "$area"
mkdir "$area/upper" "$area/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$area/upper,workdir=$area/work" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
ip link set lo up
! inside id catamaran >/dev/null 2>&1 || fail "this machine has a user catamaran already"
cp "$package" "$root/tmp/catamaran.deb"

echo "== install"
inside dpkg --install /tmp/catamaran.deb >"$area/log" 2>&1 || {
	cat "$area/log" >&2
	fail "cannot be installed"
}
inside id catamaran
inside catamaran check -c /etc/catamaran/catamaran.toml
inside systemd-analyze verify /usr/lib/systemd/system/catamaran.service
inside systemd-analyze security --offline=true --threshold=24 catamaran.service >"$area/log" || {
	cat "$area/log" >&2
	fail "the service is more exposed than docs/systemd.md says"
}
tail -1 "$area/log"
test "$(inside systemctl is-enabled catamaran.service)" = enabled || fail "the unit is not enabled"
inside bash -n /usr/share/bash-completion/completions/catamaran
gzip -t "$root/usr/share/man/man1/catamaran.1.gz" "$root/usr/share/man/man5/catamaran.toml.5.gz"
zcat "$root/usr/share/doc/catamaran/catamaran.cdx.json.gz" | grep -q '"bomFormat": "CycloneDX"'
zcat "$root/usr/share/doc/catamaran/third-party-licenses.gz" | grep -q '^  tokio '

echo "== run it as shipped"
inside install -d -o catamaran -g catamaran /run/catamaran /var/log/catamaran /var/lib/catamaran
as_service catamaran run -c /etc/catamaran/catamaran.toml >"$area/log" 2>&1 &
service=$!
eventually says 8000/catamaran "catamaran works"
curl -s -o /dev/null -w 'without servers: %{http_code}\n' http://127.0.0.1:8000/
inside catamaran ctl status
inside catamaran echo --listen 127.0.0.1:8080 --message hello >/dev/null 2>&1 &
eventually says 8000/ hello

echo "== three lines edited, reload"
sed -i -e 's/"127.0.0.1:8000"/":80"/' -e 's/, "127.0.0.1:8081"//' -e 's/{ http = "\/health" }/{ tcp = true }/' \
	"$root/etc/catamaran/catamaran.toml"
inside catamaran check -c /etc/catamaran/catamaran.toml
inside catamaran ctl reload
eventually says 80/ hello

echo "== installed anew while it runs: the edited file stays, nothing stops, the new program serves"
# A systemd that says of the service what is so: it is active. All else it takes note of.
mkdir -p "$root/run/systemd/system"
mv "$root/usr/bin/systemctl" "$root/usr/bin/systemctl.kept"
printf '#!/bin/sh\nexit 0\n' >"$root/usr/bin/systemctl"
chmod 755 "$root/usr/bin/systemctl"
inside dpkg --install /tmp/catamaran.deb >"$area/installed" 2>&1 || {
	cat "$area/installed" >&2
	fail "cannot be installed anew"
}
mv "$root/usr/bin/systemctl.kept" "$root/usr/bin/systemctl"
rmdir "$root/run/systemd/system"
grep 'serving: catamaran' "$area/installed" || {
	cat "$area/installed" "$area/log" >&2
	fail "the one that runs was not upgraded"
}
grep -q '":80"' "$root/etc/catamaran/catamaran.toml" || fail "the edited file was replaced"
says 80/ hello || fail "it stopped serving"
eventually grep -q 'data process taken over' "$area/log"
kill -TERM "$service"
wait "$service" || {
	cat "$area/log" >&2
	fail "it did not end in order"
}

echo "== purge"
inside dpkg --purge catamaran >/dev/null 2>&1
# What man(1) keeps of pages is its own.
left=$(cd "$area/upper" && find . -name '*catamaran*' ! -path './var/cache/man/*')
test -z "$left" || fail "left behind: $left"
! inside id catamaran >/dev/null 2>&1 || fail "the user is still there"
echo "nothing is left"
