"""The tables of several files of one split as one table, whatever types their writers chose.

* A writer of parquet chooses types by the rows of one file: int8 or int64, string, large_string or dictionary, null for a column without
  values, or no such column. A column gets the narrowest type that holds the values of all files; a missing column is null.
* Text stays text. A column that is text in one file and numbers in another has no such type, and is refused.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from w2s_cli.errors import UserError


def one_table(tables: Sequence[pa.Table], files: Sequence[Path]) -> pa.Table:
    """The rows of all tables, in the order of the files; not copied where the files agree.

    Raises:
        UserError: a column whose values have no common type; names the file and the column.
    """
    if all(table.schema.equals(tables[0].schema) for table in tables):
        return pa.concat_tables(tables)
    types: dict[str, pa.DataType] = {}
    for table, file in zip(tables, files, strict=True):
        for field in table.schema:
            before, own = types.get(field.name, pa.null()), _plain(field.type)
            common = _common(before, own)
            if common is None:
                raise UserError(
                    f'{file}, column "{field.name}": {own}, which is {before} in the files of this split before it. '
                    "Write the files with one type for each column."
                )
            types[field.name] = common
    return pa.concat_tables([_cast(table, types, file) for table, file in zip(tables, files, strict=True)])


def _common(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    """The narrowest type for the values of both types; None if there is none, or if it would turn text into bytes."""
    try:
        schemas = [pa.schema([("column", type_)]) for type_ in (a, b)]
        common = pa.unify_schemas(schemas, promote_options="permissive").field("column").type
    except pa.ArrowException:
        return None
    return None if (_is_text(a) or _is_text(b)) and not _is_text(common) else common


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _plain(type_: pa.DataType) -> pa.DataType:
    """The type of the values themselves: a dictionary's values, a view's text; inside lists and structs too."""
    if pa.types.is_dictionary(type_):
        return _plain(type_.value_type)
    if pa.types.is_string_view(type_):
        return pa.string()
    if pa.types.is_struct(type_):
        return pa.struct([field.with_type(_plain(field.type)) for field in type_])
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        make = pa.list_ if pa.types.is_list(type_) else pa.large_list
        return make(type_.value_field.with_type(_plain(type_.value_type)))
    return type_


def _cast(table: pa.Table, types: dict[str, pa.DataType], file: Path) -> pa.Table:
    columns = []
    for name, type_ in types.items():
        if name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, type_))
            continue
        try:
            columns.append(table.column(name).cast(type_))
        except pa.ArrowException as error:
            raise UserError(
                f'{file}, column "{name}": cannot be read as {type_}, as other files need it ({error}).'
            ) from error
    return pa.table(dict(zip(types, columns, strict=True)))
