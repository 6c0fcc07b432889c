-- ARGV: ids. Returns a forecast for each.
local answers = {}
for i, id in ipairs(ARGV) do answers[i] = forecast(id) end
return answers
