-- For wrk: prints what happened as one line of JSON, the last of its output.

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"answers": %d, "seconds": %.6f, "errors": {"connect": %d, "read": %d, "write": %d, "status": %d}}\n',
    summary.requests, summary.duration / 1e6, errors.connect, errors.read, errors.write, errors.status
  ))
end
