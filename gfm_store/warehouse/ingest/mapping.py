"""Foreign column names and event names, and which column of a source becomes which canonical one."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gfm_store.errors import SourceError, UsageError
from gfm_store.schema import EVENT_TYPES, INTERACTION_EVENT, ITEM, USER_PROFILE
from gfm_store.warehouse.ingest.columns import Column, Source

CANONICAL: dict[str, tuple[str, ...]] = {
    "items": tuple(ITEM.names),
    "events": tuple(INTERACTION_EVENT.names),
    "users": tuple(USER_PROFILE.names),
}
"""Canonical columns, by what is ingested; users may have further ones."""
REQUIRED = {
    "items": ("item_id", "item_type"),
    "events": ("user_id", "item_id", "event_type", "event_ts"),
    "users": ("user_id",),
}
_COMMON_NAMES = {
    "user_id": ("user", "uid", "customer_id", "member_id", "account_id", "listener_id", "id"),
    "item_id": ("item", "product_id", "movie_id", "track_id", "asset_id", "asin", "sku", "id"),
    "item_type": ("type", "category", "kind", "content_type"),
    "event_type": ("type", "event", "action", "kind", "interaction"),
    "event_ts": ("ts", "timestamp", "time", "datetime", "date", "created_at", "played_at", "when"),
}
"""What the required columns are often called elsewhere: only to propose a --map, never to guess."""


@dataclass
class ColumnMapping:
    """`canonical=theirs` rules, and which of them some source has used.

    A rule holds for every source that has the column; with `items.`, `events.` or `users.` before the
    canonical name only for those. `=text` instead of a column is that text in every row.
    """

    rules: Mapping[str, str]
    _used: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for rule, theirs in self.rules.items():
            scope, _, name = rule.rpartition(".")
            tables = [scope] if scope else list(CANONICAL)
            if scope not in ("", *CANONICAL):
                raise UsageError(f"--map {rule}={theirs}: before the dot stands items, events or users.")
            known = sorted({column for table in tables for column in CANONICAL[table]})
            if name not in known:
                close = difflib.get_close_matches(name, known, 1)
                hint = f" Did you mean {close[0]}?" if close else ""
                raise UsageError(
                    f"--map {rule}={theirs}: there is no column {name!r} to fill; "
                    f"known are {', '.join(known)}.{hint}"
                )
            if theirs in ("", "="):
                raise UsageError(f"--map {rule}={theirs}: a column's name, or =constant, must follow.")

    def resolve(self, table: str, source: Source) -> dict[str, Column]:
        """The source's column for each canonical one that it has.

        Raises:
            SourceError: a required column is not there, or a name stands for two columns.
        """
        found: dict[str, Column] = {}
        for canonical in CANONICAL[table]:
            column = self._mapped(table, canonical, source) or _by_name(canonical, source)
            if column is not None:
                found[canonical] = column
        return found

    def _mapped(self, table: str, canonical: str, source: Source) -> Column | None:
        for rule in (f"{table}.{canonical}", canonical):
            theirs = self.rules.get(rule)
            if theirs is None:
                continue
            if theirs.startswith("="):
                self._used.add(rule)
                return constant(canonical, theirs[1:])
            if column := _column(theirs, source):
                self._used.add(rule)
                return column
        return None

    def check_used(self, sources: Sequence[tuple[str, Source]]) -> None:
        """Raise SourceError for a rule whose column none of its sources has."""
        for rule, theirs in self.rules.items():
            if rule in self._used:
                continue
            scope, _, name = rule.rpartition(".")
            asked = [one for table, one in sources if name in CANONICAL[table] and scope in ("", table)]
            if not asked:
                raise UsageError(f"--map {rule}={theirs}: no source of this call has a use for {name}.")
            names = [column.name for column in asked[0].columns]
            close = difflib.get_close_matches(theirs, names, 1)
            hint = f" Did you mean --map {rule}={close[0]}?" if close else ""
            raise SourceError(
                f"--map {rule}={theirs}: {asked[0].label} has no column {theirs!r}. "
                f"It has: {', '.join(names)}.{hint}"
            )


def constant(canonical: str, text: str) -> Column:
    """A column that holds `text` in every row."""
    return Column(
        f"={text}", f"CAST($constant_{canonical} AS VARCHAR)", "text", {f"constant_{canonical}": text}
    )


def check_required(table: str, source: Source, found: Mapping[str, Column]) -> None:
    """Raise SourceError with the --map that is likely meant when a required column is missing."""
    missing = [name for name in REQUIRED[table] if name not in found]
    if not missing:
        return
    taken = {column.name for column in found.values()}
    likely = likeliest(missing, [column.name for column in source.columns if column.name not in taken])
    advice = []
    for name in missing:
        advice.append(f"--map {name}={_shell(likely.get(name, 'THEIR_COLUMN'))}")
        if name == "item_type":
            advice[-1] += " (or, when all rows are of one type, --map item_type==movie, say)"
        if name == "event_type":
            advice[-1] += " (or, when all rows are of one kind, --event-type '*=stream', say)"
    raise SourceError(
        f"{source.label} has no column {' and no '.join(missing)}. It has: "
        f"{', '.join(column.name for column in source.columns)}. Say which is meant: {' '.join(advice)}"
    )


def likeliest(missing: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """The foreign name that most looks like each canonical one, none given out twice."""
    scores = [(_likeness(canonical, name), canonical, name) for canonical in missing for name in names]
    likely: dict[str, str] = {}
    for score, canonical, name in sorted(scores, key=lambda one: -one[0]):
        if score >= 0.6 and canonical not in likely and name not in likely.values():
            likely[canonical] = name
    return likely


def _likeness(canonical: str, name: str) -> float:
    name = name.lower()
    common = _COMMON_NAMES.get(canonical, ())
    if name in common:
        return 1.0
    # Names of two or three letters are like everything: those count only when equal.
    wanted = [one for one in (canonical, *common) if len(one) > 3]
    return max(difflib.SequenceMatcher(None, name, one).ratio() for one in wanted)


def _by_name(canonical: str, source: Source) -> Column | None:
    names = [theirs for theirs, ours in source.aliases.items() if ours == canonical]
    for name in (canonical, *names):
        if column := _column(name, source):
            return column
    folded = [column for column in source.columns if column.name.lower() == canonical]
    return folded[0] if len(folded) == 1 else None


def _column(name: str, source: Source) -> Column | None:
    named = [column for column in source.columns if column.name == name]
    if len(named) > 1:
        raise SourceError(f"{source.label} has {len(named)} columns named {name!r}; rename one of them.")
    return named[0] if named else None


def _shell(name: str) -> str:
    return f"'{name}'" if not name.replace("_", "").replace(".", "").isalnum() else name


@dataclass(frozen=True)
class EventTypeRule:
    """A source's event name, as a LIKE pattern with backslash as its escape, and what it stands for."""

    pattern: str
    event_type: str
    priority: int


def event_type_rules(names: Mapping[str, str]) -> tuple[EventTypeRule, ...]:
    """Rules in the order in which they count: exact names, the canonical names, then those with `*`.

    Raises:
        UsageError: an event type that is none of ours, or an empty name.
    """
    for value, event_type in names.items():
        if event_type not in EVENT_TYPES:
            raise UsageError(
                f"--event-type {value}={event_type}: {event_type!r} is no event type; "
                f"known are {', '.join(EVENT_TYPES)}."
            )
        if not value:
            raise UsageError(
                f"--event-type ={event_type}: the source's event name is missing before the `=`."
            )
    exact = {value: kind for value, kind in names.items() if "*" not in value}
    wild = {value: kind for value, kind in names.items() if "*" in value}
    ours = {kind: kind for kind in EVENT_TYPES}
    ordered = [*exact.items(), *ours.items(), *wild.items()]
    return tuple(
        EventTypeRule(_like(value), kind, priority) for priority, (value, kind) in enumerate(ordered)
    )


def _like(value: str) -> str:
    for special in ("\\", "%", "_"):
        value = value.replace(special, "\\" + special)
    return value.replace("*", "%")
