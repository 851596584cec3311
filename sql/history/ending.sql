-- ending: the last event until which events are known, as `beginning` has the first.
-- grain: one row; n_after counts the events after it, none or one in a hundred at most.
-- in: interaction_event.
WITH event_day AS (
    SELECT
        CAST(event_ts AS DATE) AS day,
        max(event_ts) AS event_ts,
        count(*) AS n_events
    FROM interaction_event
    GROUP BY CAST(event_ts AS DATE)
),
in_order AS (
    SELECT
        event_ts,
        date_diff('day', day, lead(day) OVER (ORDER BY day)) AS gap,
        date_diff('day', min(day) OVER (), day) AS days_before,
        CAST(sum(n_events) OVER (ORDER BY day DESC) - n_events AS BIGINT) AS n_after,
        CAST(sum(n_events) OVER () AS BIGINT) AS n_all
    FROM event_day
)
SELECT event_ts, n_after
FROM in_order
-- A gap that is longer than all that comes before it, with hardly anything after it.
WHERE n_after = 0 OR (gap > days_before AND 100 * n_after <= n_all)
ORDER BY event_ts
LIMIT 1
