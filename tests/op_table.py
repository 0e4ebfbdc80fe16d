"""The op table: one record for each op and composite. `set(TABLE) == set(OPS)` is asserted in test_ops.py."""

import importlib
import pkgutil

import op_records

from chainrule.testing import OpRecord

TABLE: dict[str, OpRecord] = {}

for _module in sorted(m.name for m in pkgutil.iter_modules(op_records.__path__)):
    for _record in importlib.import_module(f"op_records.{_module}").RECORDS:
        if _record.name in TABLE:
            raise ValueError(f"two records of {_record.name!r}, the second in op_records/{_module}.py")
        TABLE[_record.name] = _record
