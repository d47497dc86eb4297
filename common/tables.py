"""Tables as Parquet, with their declared columns and nothing else."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

TableRow = dict[str, Any]  # column -> value


@dataclass(frozen=True)
class Field:
    """One column: Arrow type, and meaning with unit.

    `exact` is False for floats whose last digits depend on what else was computed in the same pass.
    """

    type: str
    meaning: str
    exact: bool = True


_ARROW = {"list<string>": ("string",), "list<int32>": ("int32",), "list<float64>": ("float64",)}


def to_parquet(rows: Iterable[dict[str, Any]], fields: dict[str, Field]) -> bytes:
    """`rows` as a Parquet file; the same rows always give the same bytes.

    Raises: KeyError when a row lacks a column or has another one: that is a bug in a phase.
    """
    rows = list(rows)
    for row in rows:
        if row.keys() != fields.keys():
            raise KeyError(f"columns {sorted(row.keys() ^ fields.keys())} are not in both the row and the handoff")
    return columns_to_parquet({name: _column(rows, name, field) for name, field in fields.items()}, fields)


def columns_to_parquet(columns: Mapping[str, np.ndarray | list], fields: dict[str, Field]) -> bytes:
    """The same from columns: for tables of millions of numbers. Raises: KeyError, as `to_parquet` does."""
    import pyarrow
    import pyarrow.parquet

    if columns.keys() != fields.keys():
        raise KeyError(f"columns {sorted(columns.keys() ^ fields.keys())} are not in both the table and the handoff")
    schema = pyarrow.schema([_arrow_field(name, field) for name, field in fields.items()])
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns, schema=schema), buffer, compression="zstd")
    return buffer.getvalue()


def from_parquet(data: bytes) -> list[dict[str, Any]]:
    """The rows of a Parquet file, in order, with Python values."""
    return _read(data).to_pylist()


def columns_from_parquet(data: bytes) -> dict[str, np.ndarray]:
    """The columns of a Parquet file as arrays."""
    table = _read(data)
    return {name: table.column(name).to_numpy() for name in table.column_names}


def rows_where(path: Path, column: str, value: int) -> dict[str, np.ndarray]:
    """All columns of the rows of a Parquet file that have `value` in a column, as arrays.

    Of a table of millions of rows no more than one column of one group of rows is in memory besides.
    """
    import numpy as np
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path, memory_map=True, pre_buffer=False) as file:

        def read(group: int, name: str) -> np.ndarray:
            return file.read_row_group(group, columns=[name], use_threads=False).column(name).to_numpy()

        groups = range(file.num_row_groups)
        rows = {group: np.flatnonzero(read(group, column) == value) for group in groups}
        used = [group for group, places in rows.items() if len(places)] or groups[:1]
        return {
            name: np.concatenate([read(group, name)[rows[group]] for group in used]) for name in file.schema_arrow.names
        }


def arrow_type(field: Field) -> Any:
    """The Arrow type that a column is declared with."""
    import pyarrow

    element = _ARROW.get(field.type)
    return pyarrow.list_(getattr(pyarrow, element[0])()) if element else _scalar(field.type)


def _read(data: bytes) -> Any:
    """Without threads: a process that ends while Arrow starts them is aborted, whatever its exit status was to be."""
    import pyarrow.parquet

    return pyarrow.parquet.ParquetFile(io.BytesIO(data), pre_buffer=False).read(use_threads=False)


def _column(rows: list[dict[str, Any]], name: str, field: Field) -> list[Any]:
    values = [row[name] for row in rows]
    return [_storable(value) for value in values] if "string" in field.type else values


def _storable(value: Any) -> Any:
    """Text that a model wrote may hold lone surrogates, which UTF-8 cannot; they become escapes."""
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _arrow_field(name: str, field: Field) -> Any:
    import pyarrow

    return pyarrow.field(name, arrow_type(field), metadata={"meaning": field.meaning})


def _scalar(name: str) -> Any:
    import pyarrow

    return pyarrow.bool_() if name == "bool" else getattr(pyarrow, name)()
