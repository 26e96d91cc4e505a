# Start and end of the one process whose pid and log are in $dir; to be sourced.

# Waits until the port answers. Fails when the process ends before it does, or when the time is over.
wait_for_port() { # name, port, seconds
  local look
  for ((look = 0; look < $3 * 20; look++)); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null; then return; fi
    kill -0 "$(<"$dir/pid")" 2>/dev/null || break
    sleep 0.05
  done
  tail -20 "$dir/log" >&2
  echo "$1 did not start; its log is $dir/log" >&2
  return 1
}

# Sends a signal and waits for the end, which comes by force when the time is over.
halt() { # name, signal, seconds
  local pid look
  [[ -e $dir/pid ]] || return 0
  pid=$(<"$dir/pid")
  kill "-$2" "$pid" 2>/dev/null || true
  for ((look = 0; look < $3 * 20; look++)); do kill -0 "$pid" 2>/dev/null || break; sleep 0.05; done
  if kill -9 "$pid" 2>/dev/null; then echo "$1 had to be killed: it did not stop within $3 s" >&2; fi
  rm -f "$dir/pid"
}
