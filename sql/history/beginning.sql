-- beginning: the first event from which on events are known, as windows that grow reach no further back.
-- grain: one row; n_before counts the events before it, none or one in a hundred at most: unset clocks, mostly.
-- in: interaction_event.  $as_of (excluded) bounds it.
WITH event_day AS (
    SELECT
        CAST(event_ts AS DATE) AS day,
        min(event_ts) AS event_ts,
        count(*) AS n_events
    FROM interaction_event
    WHERE event_ts < $as_of
    GROUP BY CAST(event_ts AS DATE)
),
in_order AS (
    SELECT
        event_ts,
        date_diff('day', lag(day) OVER (ORDER BY day), day) AS gap,
        date_diff('day', day, CAST($as_of AS DATE)) AS days_after,
        CAST(sum(n_events) OVER (ORDER BY day) - n_events AS BIGINT) AS n_before,
        CAST(sum(n_events) OVER () AS BIGINT) AS n_all
    FROM event_day
)
SELECT event_ts, n_before
FROM in_order
-- A gap that is longer than all that follows it, with hardly anything before it.
WHERE n_before = 0 OR (gap > days_after AND 100 * n_before <= n_all)
ORDER BY event_ts DESC
LIMIT 1
