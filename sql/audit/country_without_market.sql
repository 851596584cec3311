-- country_without_market: countries of users that no item's markets name, where some items have markets.
-- grain: one row per offending country, the most users first; empty means good.
-- in: item, user_profile.
-- Users there are listed nothing that has markets: codes that are written in two ways look like this.
WITH market AS (
    SELECT DISTINCT unnest(markets) AS country
    FROM item
)
SELECT
    user_profile.country,
    count(*) AS n_users
FROM user_profile
LEFT JOIN market ON market.country = user_profile.country
WHERE user_profile.country IS NOT NULL
    AND market.country IS NULL
    AND EXISTS (SELECT 1 FROM market)
GROUP BY user_profile.country
ORDER BY n_users DESC, user_profile.country
