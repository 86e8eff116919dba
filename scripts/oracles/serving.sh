# Sourced by scripts that start servers: a free port, a start, a wait until it answers, an end.

pids=()

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

serve() { # LOG COMMAND… → its process id is the last of pids
    local log=$1
    shift
    "$@" >"$log" 2>&1 &
    pids+=("$!")
}

wait_until_ready() { # URL LOG
    local i
    for ((i = 0; i < 600; i++)); do
        if python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' \
            "$1" 2>/dev/null; then
            return
        fi
        if ! kill -0 "${pids[-1]}" 2>/dev/null; then
            echo "the server ended before it was ready:" >&2
            tail -n 20 "$2" >&2
            exit 3
        fi
        sleep 0.2
    done
    echo "the server was not ready in two minutes; see $2" >&2
    exit 3
}

wait_for_port() { # PORT
    local i
    for ((i = 0; i < 300; i++)); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
            return
        fi
        sleep 0.1
    done
    echo "nothing listens on port $1" >&2
    exit 3
}

stop_all() {
    local pid
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
}
