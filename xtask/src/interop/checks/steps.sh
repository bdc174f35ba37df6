# The ready-made checks against Redis, PostgreSQL and a mail server: up while these serve, down while
# they are stopped, frozen or turn clients away, up again after it. $1 is the program.
set -euo pipefail
catamaran=$(realpath "$1")
work=$(mktemp -d)
chmod 755 "$work"
pids=()
cleanup() {
    for pid in "${pids[@]}"; do
        kill -CONT "$pid" 2>/dev/null || true
        kill "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
ctl() { "$catamaran" ctl --socket "$work/admin.sock" "$@"; }

# Waits until the server of backend $1 is $2.
await() {
    for _ in $(seq 600); do
        found=$(ctl --json servers "$1" 2>/dev/null | python3 -c '
import json, sys
server = json.load(sys.stdin)[0]["servers"][0]
check = server.get("check") or {}
print(server["health"], check.get("result"), check.get("reason", ""))' 2>/dev/null || true)
        case "$2 $found" in
            "up up pass"* | "down down fail"*) echo "$1 is $found"; return ;;
        esac
        sleep 0.1
    done
    echo "$1 is not $2 but: $found" >&2
    tail -20 "$work/log" >&2
    exit 1
}

redis=$(free_port) postgres=$(free_port) smtp=$(free_port)
start_redis() {
    redis-server --port "$redis" --bind 127.0.0.1 --save '' --dir "$work" "$@" >"$work/redis.log" &
    redis_pid=$!
    pids+=("$redis_pid")
}
start_smtp() {
    python3 -W ignore -m smtpd -n -c DebuggingServer "127.0.0.1:$smtp" >"$work/smtp.log" 2>&1 &
    smtp_pid=$!
    pids+=("$smtp_pid")
}
bin=$(dirname "$(ls /usr/lib/postgresql/*/bin/postgres | tail -1)")
# PostgreSQL does not run as root.
as=()
[ "$(id -u)" = 0 ] && as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
mkdir "$work/pg"
[ "$(id -u)" = 0 ] && chown 65534:65534 "$work/pg"
"${as[@]}" "$bin/initdb" -D "$work/pg" -U test -A trust >"$work/initdb.log"
start_postgres() {
    "${as[@]}" "$bin/postgres" -D "$work/pg" -p "$postgres" -h 127.0.0.1 -k "$work/pg" \
        >"$work/postgres.log" 2>&1 &
    postgres_pid=$!
    pids+=("$postgres_pid")
}
start_redis
start_smtp
start_postgres

timing='interval = "200ms", timeout = "2s", rise = 1, fall = 1'
{
    echo '[admin]'
    echo 'socket = "admin.sock"'
    for name in redis postgresql smtp; do
        port=$redis
        [ $name = postgresql ] && port=$postgres
        [ $name = smtp ] && port=$smtp
        echo "[frontend.$name]"
        echo 'protocol = "tcp"'
        echo 'listen = "127.0.0.1:0"'
        echo "backend = \"$name\""
        echo "[backend.$name]"
        echo "servers = [\"127.0.0.1:$port\"]"
        echo "health = { $name = true, $timing }"
    done
} >"$work/catamaran.toml"
cd "$work"
"$catamaran" run -c catamaran.toml >"$work/log" 2>&1 &
pids+=($!)

for name in redis postgresql smtp; do await $name up; done
# A frozen process still has its connections accepted by the kernel.
kill -STOP "$redis_pid" "$smtp_pid"
await redis down
await smtp down
kill -CONT "$redis_pid" "$smtp_pid"
await redis up
await smtp up
kill "$redis_pid" "$postgres_pid"
wait "$redis_pid" "$postgres_pid" 2>/dev/null || true
await redis down
await postgresql down
# Redis with a password answers, but not to us.
start_redis --requirepass secret
start_postgres
await postgresql up
await redis down
# Nothing of the checks stands in PostgreSQL's log.
if grep -Ei 'incomplete|invalid|fatal|reset' "$work/postgres.log"; then
    echo "PostgreSQL complains of the checks" >&2
    exit 1
fi
