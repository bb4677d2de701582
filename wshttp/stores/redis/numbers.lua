-- Numbers as JSON texts: whole ones stay whole, others look as Python writes them, since texts are measured and compared.
local function is_whole(text)
  return string.match(text, '^%-?%d+$') ~= nil
end

-- The digits and exponent of the shortest text that is read as the same number: 15 to 17 digits are enough for any, and
-- less for those that are too small to have as many.
local function shortest(number)
  for digits = math.abs(number) < 2.3e-308 and 0 or 14, 16 do
    local text = string.format('%.' .. digits .. 'e', number)
    if tonumber(text) == number or digits == 16 then
      local sign, first, rest, exponent = string.match(text, '^(%-?)(%d)%.?(%d*)e([+-]%d+)$')
      return sign, (string.gsub(first .. rest, '0+$', '')), tonumber(exponent)
    end
  end
end

local function float_text(number)
  local sign, digits, exponent = shortest(number)
  if digits == '' then
    return sign .. '0.0'
  elseif exponent < -4 or exponent >= 16 then
    local rest = string.sub(digits, 2)
    return sign .. string.sub(digits, 1, 1) .. (rest ~= '' and '.' .. rest or '')
      .. string.format('e%s%02d', exponent < 0 and '-' or '+', math.abs(exponent))
  elseif exponent < 0 then
    return sign .. '0.' .. string.rep('0', -exponent - 1) .. digits
  elseif #digits <= exponent + 1 then
    return sign .. digits .. string.rep('0', exponent + 1 - #digits) .. '.0'
  end
  return sign .. string.sub(digits, 1, exponent + 1) .. '.' .. string.sub(digits, exponent + 2)
end

-- The sum of two JSON texts as one, or nil where that is no number, none that is finite, or none that is exact.
local function sum(one, other)
  if not string.match(one, '^%-?%d') then
    return nil
  end
  local a, b = tonumber(one), tonumber(other)
  local total = a + b
  if is_whole(one) and is_whole(other) then
    if math.abs(total) > 2 ^ 53 or total - a ~= b then
      return nil
    end
    return string.format('%.0f', total)
  end
  if total ~= total or math.abs(total) == math.huge then
    return nil
  end
  return float_text(total)
end
