-- Sends prepared bodies, one after the other, over every connection; tells at the end how
-- many were answered with what, and how long it took.
local bodies = {}

function setup(thread)
  if not counter then counter = 0 end
  thread:set("first", counter * 997)
  counter = counter + 1
end

function init(args)
  for body in io.lines(args[1]) do
    bodies[#bodies + 1] = wrk.format("POST", nil, {["Content-Type"] = "application/json"}, body)
  end
  at = first
end

function request()
  at = at + 1
  return bodies[at % #bodies + 1]
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT requests=%d us=%d p50=%d p99=%d p999=%d refused=%d broken=%d\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    e.status, e.connect + e.read + e.write + e.timeout))
end
