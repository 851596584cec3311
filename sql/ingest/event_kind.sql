-- event_kind: the event type that each name of a source stands for.
-- grain: one row per distinct name that some rule knows.
-- inputs: given_event, event_type_rule (pattern in LIKE's terms, event_type, priority: the lowest wins).
WITH given AS (
    SELECT DISTINCT event_type AS given_type
    FROM given_event
    WHERE event_type IS NOT NULL
),
ranked AS (
    SELECT
        given.given_type,
        event_type_rule.event_type,
        row_number() OVER (PARTITION BY given.given_type ORDER BY event_type_rule.priority) AS place
    FROM given
    INNER JOIN event_type_rule ON given.given_type LIKE event_type_rule.pattern ESCAPE '\'
)
SELECT given_type, event_type
FROM ranked
WHERE place = 1
