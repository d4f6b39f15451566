-- Drops dead letters; answers how many were there. ARGV: ids
prune()
local count = 0
for _, id in ipairs(ARGV) do count = count + drop(id) end
return count
