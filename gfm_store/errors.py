"""Everything gfm-store raises on purpose.

    GfmError                      one clear message: what, where, how to mend it
    ├── UsageError                an argument that cannot be used (k below 1, unknown item type, ...)
    ├── ConfigError               gfm.toml does not read, or holds an unknown or impossible setting
    ├── WarehouseError            the warehouse cannot be used as it is
    │   ├── EmptyWarehouseError   no warehouse, or no events before `as_of`
    │   ├── SchemaVersionError    written by a newer gfm-store, or not by gfm-store
    │   └── WarehouseLockedError  another process holds it
    ├── SourceError               an ingest source cannot be read or mapped
    ├── NotPublishedError         nothing is published yet, or not the version asked for
    └── GateError                 a version was built and refused; what is served is unchanged

Jobs turn a GateError into exit code 3 and every other GfmError into exit code 2.
"""


class GfmError(Exception):
    """Base of all errors raised on purpose; its text is meant for the person at the terminal."""

    exit_code = 2


class UsageError(GfmError):
    """An argument that cannot be used."""


class ConfigError(GfmError):
    """`gfm.toml` cannot be read, or holds an unknown or impossible setting."""


class WarehouseError(GfmError):
    """The warehouse cannot be used as it is."""


class EmptyWarehouseError(WarehouseError):
    """There is no warehouse, or it holds nothing before `as_of`."""


class SchemaVersionError(WarehouseError):
    """The warehouse was written by a newer gfm-store, or by something else."""


class WarehouseLockedError(WarehouseError):
    """Another process holds the warehouse or the job's lock."""


class SourceError(GfmError):
    """An ingest source cannot be read, or its columns cannot be mapped."""


class NotPublishedError(GfmError):
    """Nothing is published yet, or the version asked for is not kept."""


class GateError(GfmError):
    """A version was built and refused by a gate; what readers see is unchanged."""

    exit_code = 3
