-- The slot has stopped working on this attempt (cancelled, or taken away). ARGV: id, attempt, slot. Returns bindings.
return release(ARGV[3], ARGV[1], ARGV[2])
