-- Returns a forecast for each of these jobs.
-- include: forecasting
local ids = ARGV

local answers = {}
for i, id in ipairs(ids) do answers[i] = forecast(id) end
return answers
