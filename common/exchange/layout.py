"""The files of the original project (Tahimic & Cheng 2025): one npz per task and layer, beside a table.

    dataset_<any name>.parquet                         one row per task
    activations/correct/{task_id}_layer_{n}.npz        of tasks whose program passed all tests
    activations/incorrect/{task_id}_layer_{n}.npz      of the others

What its phase 1 wrote (github.com/KrizTahimic/pva_sae: phase1_simplified/runner.py, common_simplified/helpers.py
and activation_hooks.py; read in the code, not in the data):

- An npz holds one array, called layer_{n} (arr_0 in its later phases), of shape [1, d_model], in float16 or
  float32, at the last token of the prompt.
- **n counts block inputs.** The hook stood before block n, so `_layer_{n}` is the output of block n - 1: n begins at 1
  here, and our resid_post of block L is `_layer_{L + 1}`. Its own phase 2 read such a file with the SAE of block n,
  which is off by one; whoever reads it through `import` has it in the right place. n = 0 would be the embedding.
- The table's columns are task_id, text, code (the *reference* solution), test_list, cyclomatic_complexity,
  generated_code and test_passed. `code` is therefore never taken for the model's program.
- Tasks that could not be judged are in neither the table nor the folders, but in excluded_tasks.json.
"""

import dataclasses
import io
import re
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import ConfigError
from common.handoffs import GENERATION_FIELDS, PROBLEM_FIELDS, Field
from common.model.settings import NamedModelConfig, PromptConfig
from common.problems.settings import DatasetConfig

if TYPE_CHECKING:
    import numpy as np

EXCLUDED = "excluded_tasks.json"
NPZ_NAME = re.compile(r"(0|[1-9]\d{0,17})_layer_(0|[1-9]\d{0,3})\.npz")

# Columns of a run that the layout has under other names; the first one that a table has is read.
OTHER_NAMES = {"code": ("generated_code",), "complexity": ("cyclomatic_complexity", "complexity_score", "complexity")}

TABLE_FIELDS = {
    **{name: PROBLEM_FIELDS[name] for name in ("task_id", "text", "code", "test_list")},
    "cyclomatic_complexity": GENERATION_FIELDS["complexity"],
    "generated_code": GENERATION_FIELDS["code"],
    "test_passed": Field("bool", "whether the generated program passed all tests"),
    **{name: field for name, field in GENERATION_FIELDS.items() if name not in ("task_id", *OTHER_NAMES)},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayoutConfig(NamedModelConfig, DatasetConfig, PromptConfig):
    """The experiment that is exported, or that a folder is imported for."""


def table_name(dataset_slug: str) -> str:
    return f"dataset_{dataset_slug}.parquet"


def npz_path(label: str, task_id: int, n: int) -> Path:
    """Where the layout keeps one activation, below its folder."""
    return Path("activations", label, f"{task_id}_layer_{n}.npz")


def npz_bytes(n: int, resid: "np.ndarray") -> bytes:
    """The npz of one activation [d_model], as the original wrote it."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{f"layer_{n}": resid[None]})  # pyright: ignore[reportArgumentType] - no such name
    return buffer.getvalue()


def read_npz(data: bytes, path: Path) -> "np.ndarray":
    """The one array of an npz, [d_model] float32; `path` is for messages. Never unpickles.

    Raises: ConfigError, naming the file, when it is torn, or holds anything else.
    """
    import numpy as np

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            names = opened.namelist()
            if len(names) != 1 or not names[0].endswith(".npy"):
                shown = ", ".join(names[:6]) or "nothing"
                raise _wrong(path, f"holds {shown}, where one array is expected")
            array = np.lib.format.read_array(io.BytesIO(opened.read(names[0])), allow_pickle=False)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, MemoryError, RuntimeError) as error:
        if "allow_pickle" in str(error):
            raise _wrong(path, "holds pickled objects, which are never read") from None
        raise _wrong(path, f"is torn or no npz ({error})") from None
    return _checked(array, path)


def _checked(array: "np.ndarray", path: Path) -> "np.ndarray":
    import numpy as np

    if array.dtype.kind != "f" or array.dtype.itemsize > 4:
        raise _wrong(path, f"holds numbers of type {array.dtype}, where float16 or float32 is expected")
    if array.shape[:-1] not in ((), (1,)) or array.ndim == 0 or array.size == 0:
        raise _wrong(path, f"has the shape {list(array.shape)}, where [d_model] or [1, d_model] is expected")
    if not np.isfinite(array).all():
        raise _wrong(path, f"holds {int((~np.isfinite(array)).sum())} values that are NaN or infinite")
    return array.reshape(-1).astype(np.float32)


def _wrong(path: Path, what: str) -> ConfigError:
    return ConfigError(f"{path} {what}\nFetch or write the file again, or take its task out of the table")


def source_column(name: str, columns: list[str]) -> str | None:
    """Under which name a table holds a column of GENERATION_FIELDS; None when it lacks it."""
    return next((other for other in OTHER_NAMES.get(name, (name,)) if other in columns), None)
