"""The order of the floors (docs/architecture.md): an import goes only to a lower floor.

Read from the syntax trees, so that imports inside functions and under TYPE_CHECKING count too.
"""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "proxy"

FLOORS = {
    "errors": 0,
    "wire": 1, "config": 1, "metrics": 1, "log": 1, "sinks": 1, "certificates": 1, "shared_memory": 1,
    "leases": 2,
    "gate": 3,
    "session": 4,
    "net": 5, "neighbours": 5,
    "runtime": 6,
    "supervisor": 7, "worker": 7, "node": 7, "admin": 7,
    "selftest": 7, "upstream_client": 7, "health": 7, "shadow": 7, "queries": 7,
    "cli": 8, "__main__": 8, "demo": 8,
}  # fmt: skip
APART = [("session", "leases"), ("leases", "session")]
"""On one floor, and yet they know nothing of each other."""

MODULES = sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    """The package or module right under `proxy` that a file belongs to; "" for proxy/__init__.py."""
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if name == "__init__" else name


def imports(path: Path) -> set[str]:
    """The parts of `proxy` that a module imports."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            start = [*base, *(node.module.split(".") if node.module else [])]
            names = [[*start, alias.name] for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] == "proxy":
                found.add(name[1] if len(name) > 1 else "")
    return {name for name in found if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()} - {""}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_below(path: Path) -> None:
    own = part(path)
    if own == "":
        assert imports(path) == set()
        return
    assert own in FLOORS, f"{own}: on which floor is it?"
    for other in imports(path) - {own}:
        assert other in FLOORS, f"{other}: on which floor is it?"
        assert FLOORS[other] <= FLOORS[own], f"{own} imports {other} from above"
        assert (own, other) not in APART, f"{own} knows {other}"


def test_no_two_parts_import_each_other() -> None:
    """On one floor imports may go one way, never both."""
    known: dict[str, set[str]] = {name: set() for name in FLOORS}
    for path in MODULES:
        if part(path):
            known[part(path)] |= imports(path) - {part(path)}
    assert not [(one, other) for one, others in known.items() for other in others if one in known[other]]


def module_of(path: Path) -> str:
    """Its dotted name below `proxy`; a package has that of its folder."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def imported_modules(path: Path, modules: set[str]) -> set[str]:
    """The modules of `proxy` that a module names, under TYPE_CHECKING and inside functions, too."""
    package = path.relative_to(PACKAGE).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            start = [*package[: len(package) - node.level + 1], *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                inner = ".".join([*start, alias.name])
                found.add(inner if inner in modules else ".".join(start))
    return found & modules - {module_of(path), ""}


def circles(imports_of: dict[str, set[str]]) -> set[frozenset[str]]:
    """The sets of modules each of which reaches all the others of its set."""
    reached: dict[str, set[str]] = {}
    for name in imports_of:
        seen, todo = set(), list(imports_of[name])
        while todo:
            one = todo.pop()
            if one not in seen:
                seen.add(one)
                todo += imports_of[one]
        reached[name] = seen
    return {frozenset(other for other in reached[name] if name in reached[other]) for name in reached} - {frozenset()}


def test_a_circle_is_found_however_long_it_is() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == {frozenset("abc")}
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Whoever reads one module of a circle has to read all of them."""
    modules = {module_of(path) for path in MODULES}
    found = circles({module_of(path): imported_modules(path, modules) for path in MODULES})
    assert sorted(map(sorted, found)) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_inside_the_package_are_relative(path: Path) -> None:
    """The folder's name is not unique among packages."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert (node.module or "").split(".")[0] != "proxy"
        elif isinstance(node, ast.Import):
            assert all(alias.name.split(".")[0] != "proxy" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_opens_with_what_it_does_and_its_functions_are_of_a_size_to_read(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree) or not text.strip()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"


def test_sessions_know_no_clock_no_socket_no_loop_and_no_log() -> None:
    """Sans-IO: floor 2's sessions and the wire below them."""
    forbidden = {"asyncio", "socket", "select", "time", "datetime", "os", "ssl", "loguru", "logging", "threading"}
    allowed = {("wire", "address.py", "socket")}  # inet_pton and inet_ntop: text, no I/O
    for folder in ("session", "wire"):
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module or ""]
                for name in names:
                    top = name.split(".")[0]
                    assert top not in forbidden or (folder, path.name, top) in allowed, f"{path.name} imports {name}"


def test_every_package_is_installed() -> None:
    """pyproject.toml lists the packages; one that is missing there is missing in the wheel."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        listed = set(tomllib.load(file)["tool"]["setuptools"]["packages"])
    there = {".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("__init__.py")}
    assert listed == there
    folders = {path.parent for path in MODULES}
    assert all((folder / "__init__.py").is_file() for folder in folders), "no namespace packages"


OWNED = {"self.counts", "self._refused", "entry", "waiting"}
"""Objects of the same file, and a ledger's own entries: what holds them may change them."""


@pytest.mark.parametrize("folder", ["session", "gate", "net/link"])
def test_each_state_has_one_owner(folder: str) -> None:
    """No function assigns a field of an object of another module: it calls a method of that object."""
    for path in sorted((PACKAGE / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            targets: list[ast.expr] = []
            if isinstance(node, ast.Assign):
                targets = node.targets
            elif isinstance(node, ast.AugAssign | ast.AnnAssign):
                targets = [node.target]
            for target in [one for each in targets for one in ast.walk(each)]:
                if isinstance(target, ast.Attribute) and isinstance(target.ctx, ast.Store):
                    what = ast.unparse(target)
                    assert what.rpartition(".")[0] in OWNED | {"self"}, f"{path.name}:{target.lineno} assigns {what}"
