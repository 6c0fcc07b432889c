-- Computed frames that were lost before they could be stored.
-- include: lifecycle, records

-- Run the job again, or fail it when it has run too often.
local function lose_frames(id)
  if tonumber(job_of(id).starts or 0) >= CFG.max_attempts then
    fail(id, 'output_lost', 'the computed frames were lost before they could be stored')
  else
    requeue(id)
  end
end
