"""Tables of a handoff as Parquet, with its declared columns and nothing else."""

import io
from collections.abc import Iterable
from typing import Any

from common.handoffs import Field

_ARROW = {"list<string>": ("string",), "list<int32>": ("int32",)}


def to_parquet(rows: Iterable[dict[str, Any]], fields: dict[str, Field]) -> bytes:
    """`rows` as a Parquet file; the same rows always give the same bytes.

    Raises: KeyError when a row lacks a column or has another one: that is a bug in a phase.
    """
    import pyarrow
    import pyarrow.parquet

    rows = list(rows)
    for row in rows:
        if row.keys() != fields.keys():
            raise KeyError(f"columns {sorted(row.keys() ^ fields.keys())} are not in both the row and the handoff")
    schema = pyarrow.schema([_arrow_field(name, field) for name, field in fields.items()])
    columns = {name: [_storable(row[name]) for row in rows] for name in fields}
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns, schema=schema), buffer, compression="zstd")
    return buffer.getvalue()


def from_parquet(data: bytes) -> list[dict[str, Any]]:
    """The rows of a Parquet file, in order, with Python values."""
    import pyarrow.parquet

    return pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()


def _storable(value: Any) -> Any:
    """Text that a model wrote may hold lone surrogates, which UTF-8 cannot; they become escapes."""
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _arrow_field(name: str, field: Field) -> Any:
    import pyarrow

    element = _ARROW.get(field.type)
    kind = pyarrow.list_(getattr(pyarrow, element[0])()) if element else _scalar(field.type)
    return pyarrow.field(name, kind, metadata={"meaning": field.meaning})


def _scalar(name: str) -> Any:
    import pyarrow

    return pyarrow.bool_() if name == "bool" else getattr(pyarrow, name)()
