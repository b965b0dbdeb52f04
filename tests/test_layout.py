"""The house stays as it is: what stands at the top, who imports whom, how long files get, what a host application sees.

Each test names what it allows; what is new and has a reason is added there, with its reason.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Set

import pytest
import tomli

from tests.support.scripts import ROOT

# The packages and folders of modules, and where each lies; beside them are the scripts of users.
HOMES = {
    "ernie_inference": ROOT / "deploy" / "python",
    "ernie_serving": ROOT / "deploy" / "serving",
    "ernie_ray": ROOT / "deploy" / "ray",
    "ernie_suite": ROOT,
    "examples": ROOT,
    "benchmarks": ROOT,
}
SCRIPTS = [path.stem for path in ROOT.glob("*.py")]
PYTHON_FILES = sorted(
    [*ROOT.glob("*.py"), *(path for name in ("benchmarks", "deploy", "ernie_suite", "examples", "tests")
                           for path in (ROOT / name).rglob("*.py"))]
)  # fmt: skip

MOST_FILES_AT_THE_TOP = 24
MOST_NOQA = 10
MOST_LINES = 400
LONGER: Dict[str, str] = {}  # file: why it may be

# What each may import of ours beside itself.
MAY_IMPORT = {
    "ernie_inference": set(),
    "ernie_serving": {"ernie_inference"},
    "ernie_ray": {"ernie_inference"},
    "ernie_suite": {"ernie_inference"},
    "deploy": {"ernie_inference", "ernie_serving", "ernie_ray"},
    "utils": {"ernie_suite"},
    "infer": {"ernie_suite", "ernie_inference"},
    "dataset": {"ernie_suite", "ernie_inference"},
    **dict.fromkeys([name for name in SCRIPTS if name not in ("utils", "infer", "dataset")], {"utils"}),
    **dict.fromkeys(["examples", "benchmarks"], {*HOMES, "utils", "infer"}),
}
# The client's evaluation on a data set needs the suite, which a client does not have otherwise: inside a function.
AGAINST_THE_DIRECTION = {("ernie_serving.client_command", "ernie_suite")}


class Module(NamedTuple):
    name: str
    path: Path

    @property
    def package(self) -> str:
        return self.name.split(".")[0]


class Import(NamedTuple):
    """An import statement: the module that is meant, where it is one of ours, and whether it stands in a function."""

    target: str
    inside: bool


def find_modules() -> Dict[str, Module]:
    modules = {name: Module(name, ROOT / f"{name}.py") for name in SCRIPTS}
    for package, home in HOMES.items():
        for path in (home / package).rglob("*.py"):
            parts = path.relative_to(home).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            modules[name] = Module(name, path)
    for path in (ROOT / "deploy").glob("*/*.py"):  # the published commands
        name = f"deploy.{path.parent.name}.{path.stem}"
        modules[name] = Module(name, path)
    return modules


MODULES = find_modules()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports_of(module: Module) -> Iterator[Import]:
    """What a module imports, wherever in it that stands."""
    tree = parse(module.path)
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        for name in names_of(node, module):
            target = resolve(name, module)
            if target is not None:
                yield Import(target, id(node) in inside)


def names_of(node: ast.AST, module: Module) -> List[str]:
    """The dotted names that a statement imports: `from a import b` may mean the module a.b."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:  # relative
        is_package = module.path.name == "__init__.py"
        parts = module.name.split(".")
        parts = parts[: len(parts) - node.level + is_package]
        base = ".".join([*parts, *([node.module] if node.module else [])])
    return [f"{base}.{alias.name}" for alias in node.names]


def resolve(name: str, importer: Module) -> Optional[str]:
    """The module of ours that a dotted name is, or is a name in; a script finds those of its own folder too."""
    beside = f"{importer.package}.{name}"
    if importer.package in ("benchmarks", "examples") and ".".join(beside.split(".")[:2]) in MODULES:
        name = beside
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


def import_graph() -> Dict[str, Set[str]]:
    return {name: {found.target for found in imports_of(module)} - {name} for name, module in MODULES.items()}


def find_circle(graph: Dict[str, Set[str]]) -> List[str]:
    """The modules of a circle, the first one at both ends; empty where there is none."""
    done: Set[str] = set()

    def visit(name: str, way: List[str]) -> List[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for target in sorted(graph[name]):
            circle = visit(target, [*way, name])
            if circle:
                return circle
        done.add(name)
        return []

    for name in sorted(graph):
        circle = visit(name, [])
        if circle:
            return circle
    return []


# ---------------------------------------------------------------- files


def test_the_top_level_holds_few_files():
    """A name there is a promise to the user."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("git, or the repository, is not here: nobody says which files belong to it")
    listed = subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    at_the_top = [name for name in listed if name and "/" not in name]
    assert "utils.py" in at_the_top and len(at_the_top) <= MOST_FILES_AT_THE_TOP, at_the_top


def test_no_file_is_too_long_to_be_read():
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PYTHON_FILES}
    lengths = {name: text.count("\n") for name, text in texts.items()}
    assert len(lengths) > 100
    longer = {name: count for name, count in lengths.items() if count > MOST_LINES}
    assert set(longer) == set(LONGER), longer


def test_what_ruff_shall_not_see_is_rare_and_has_a_reason():
    found = [
        f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string}"
        for path in PYTHON_FILES
        for token in comments(path)
        if re.search(r"\bnoqa\b", token.string)
    ]
    assert len(found) <= MOST_NOQA, found
    without = [line for line in found if not re.search(r"# noqa: [A-Z]+\d+(, [A-Z]+\d+)*\s+\S+ \S+", line)]
    assert not without, without


def comments(path: Path) -> Iterator[tokenize.TokenInfo]:
    with tokenize.open(path) as file:
        yield from (token for token in tokenize.generate_tokens(file.readline) if token.type == tokenize.COMMENT)


def test_what_is_installed_is_all_that_is_deployed():
    """By `pip install .`: each package of deploy/, and what lies within it."""
    settings = tomli.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    deployed = {name: HOMES[name] / name for name in HOMES if (ROOT / "deploy") in HOMES[name].parents}
    assert {name: ROOT / folder for name, folder in settings["package-dir"].items()} == deployed
    found = {
        ".".join(path.parent.relative_to(folder.parent).parts)
        for folder in deployed.values()
        for path in folder.rglob("__init__.py")
    }
    assert set(settings["packages"]) == found and len(deployed) == 3


# ---------------------------------------------------------------- imports


def test_every_package_is_looked_at():
    """Else the next tests would find nothing in it."""
    for package, least in {
        "ernie_inference": 25,
        "ernie_serving": 10,
        "ernie_ray": 6,
        "ernie_suite": 25,
        "examples": 4,
    }.items():
        names = [name for name in MODULES if name.split(".")[0] == package]
        assert len(names) >= least and sum(len(list(imports_of(MODULES[name]))) for name in names) >= least
    graph = import_graph()
    assert "ernie_suite.compression.config" in graph["utils"]
    assert "ernie_inference.engines.paddle_runtime" in graph["ernie_inference.engines.paddle_engine"]


def test_no_modules_import_one_another_in_a_circle():
    assert find_circle(import_graph()) == []


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package):
    allowed = {package, *MAY_IMPORT[package]}
    crossing = {
        (module.name, found.target.split(".")[0])
        for module in MODULES.values()
        if module.package == package
        for found in imports_of(module)
        if found.target.split(".")[0] not in allowed
    }
    assert crossing == {pair for pair in AGAINST_THE_DIRECTION if pair[0].split(".")[0] == package}


def test_what_points_the_other_way_is_imported_when_it_is_needed():
    for name, package in AGAINST_THE_DIRECTION:
        against = [found for found in imports_of(MODULES[name]) if found.target.split(".")[0] == package]
        assert against and all(found.inside for found in against)


# ---------------------------------------------------------------- the process


def run_python(code: str, cwd: Path, *paths: Path) -> List[str]:
    """The lines that a program prints which is started as nobody's: without what the tests set."""
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "PYTHONPATH")}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, paths))
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


WATCHED = """
import os, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "paddle":
            print(os.environ.get("OMP_NUM_THREADS"), "ernie_suite.cpu_settings" in sys.modules, flush=True)
            os._exit(0)  # the import itself takes seconds

sys.meta_path.insert(0, Watch())
"""


@pytest.mark.parametrize("entry", ["utils", "infer", "ernie_suite.trainer", "examples.make_small_ernie"])
def test_the_suite_sets_the_process_up_before_paddle_is_imported(entry):
    first = run_python(f"{WATCHED}\nimport {entry}", ROOT)[0]
    threads, is_set_up = first.split()
    assert threads.isdecimal() and int(threads) >= 1 and is_set_up == "True"


def test_files_import_the_suite_before_paddle():
    """Where they import both as they are imported themselves."""
    offenders = []
    for path in PYTHON_FILES:
        order = [name.split(".")[0] for node in parse(path).body for name in names_of(node, Module("", path))]
        suite = [order.index(name) for name in ("ernie_suite", "utils") if name in order]
        paddle = [order.index(name) for name in ("paddle", "paddlenlp", "paddleslim") if name in order]
        if suite and paddle and min(paddle) < min(suite):
            offenders.append(path.relative_to(ROOT).as_posix())
    assert not offenders


IMPORT_ALL = """
import importlib, pkgutil, sys
import {package}
names = [info.name for info in pkgutil.walk_packages({package}.__path__, "{package}.")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


@pytest.mark.parametrize("package", ["ernie_inference", "ernie_serving"])
def test_what_is_deployed_imports_no_paddle_by_itself(package):
    """Only an engine that runs does: there are others, and importing it takes seconds."""
    code = (
        IMPORT_ALL.format(package=package) + "print([name for name in ('paddle', 'paddlenlp') if name in sys.modules])"
    )
    count, loaded = run_python(code, ROOT, HOMES[package])
    assert int(count) >= 10 and loaded == "[]"


# ---------------------------------------------------------------- a host application

HOSTS = ("engine", "commands", "metrics", "service", "errors", "files")


@pytest.mark.parametrize("hosts_first", [False, True])
def test_a_host_application_keeps_the_names_of_its_modules(tmp_path, hosts_first):
    """The package alone beside them, with nothing of the training."""
    shutil.copytree(HOMES["ernie_inference"] / "ernie_inference", tmp_path / "ernie_inference")
    for name in HOSTS:
        (tmp_path / f"{name}.py").write_text(f"OWNER = 'the host, {name}'\n", encoding="utf-8")
    ours = IMPORT_ALL.format(package="ernie_inference") + f"print([n for n in {HOSTS} if n in sys.modules])\n"
    hosts = "".join(f"import {name}; print({name}.OWNER)\n" for name in HOSTS)
    others = "print([n for n in ('paddlenlp', 'paddleslim', 'ernie_suite', 'utils') if n in sys.modules])\n"
    where = "print(ernie_inference.__file__)\n"
    printed = run_python("".join([hosts, ours] if hosts_first else [ours, hosts]) + others + where, tmp_path)
    assert [line for line in printed if line.startswith("the host")] == [f"the host, {name}" for name in HOSTS]
    if not hosts_first:
        assert printed[1] == "[]", "the package imported modules of the host"
    assert printed[-2:] == ["[]", str(tmp_path / "ernie_inference" / "__init__.py")]
