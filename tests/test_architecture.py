"""The house keeps its shape: imports point down, start-up is light, no file names this machine."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from conftest import REPOSITORY

PACKAGE = REPOSITORY / "iwsltpack"
FLOORS = [
    {"cli"},
    {"demo", "workplace"},
    {"hf", "hub", "report"},
    {"calibration"},
    {"submission", "decoding", "scoring"},
    {"building", "runtime", "cleaning"},
    {"artifact"},
    {"quantizers"},
    {"codecs", "testsets", "editions", "remote", "cluster"},
    {"documents"},
    {"system"},
    {"errors", "version"},
]
"""From the roof down. A module imports from floors below its own, never from a room beside it."""


def floor(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imports(text: str, modules: set[str]) -> set[str]:
    """Return the modules of the package that a source text imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else str(node.module) for name in names}
    return found & modules


def import_graph() -> dict[str, set[str]]:
    texts = {module_name(path): path.read_text(encoding="utf-8") for path in sources()}
    return {name: imports(text, set(texts)) - {name} for name, text in texts.items()}


def upward(graph: dict[str, set[str]]) -> list[str]:
    """Return every import that does not lead to a lower floor; the face and `__main__` may import anything."""
    wrong = []
    for name, targets in graph.items():
        if name in ("iwsltpack", "iwsltpack.__main__"):
            continue
        room = name.split(".")[1]
        for target in targets:
            other = target.split(".")[1] if "." in target else "the package's face"
            if other != room and (other not in set().union(*FLOORS) or floor(other) <= floor(room)):
                wrong.append(f"{name} imports {target}")
    return sorted(wrong)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return the files of a circle of imports, or nothing."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_imports_point_down() -> None:
    assert upward(import_graph()) == []


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circle(import_graph()) == []


def test_an_import_that_runs_up_or_around_is_noticed() -> None:
    graph = import_graph()
    graph["iwsltpack.system.fileio"] = {*graph["iwsltpack.system.fileio"], "iwsltpack.documents.names"}
    assert upward(graph) == ["iwsltpack.system.fileio imports iwsltpack.documents.names"]
    graph["iwsltpack.version"] = {"iwsltpack"}
    assert "iwsltpack.version imports iwsltpack" in upward(graph)
    assert "iwsltpack.version" in circle(graph)


def test_every_room_has_a_floor() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in sources()}
    assert rooms - {"__init__", "__main__"} == set().union(*FLOORS)


HEAVY = (
    "torch",
    "transformers",
    "zarr",
    "numcodecs",
    "numpy",
    "matplotlib",
    "jsonschema",
    "huggingface_hub",
    "soundfile",
)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["inspect", "--help"], ["clean", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom iwsltpack.cli import main\n"
        f"sys.argv = ['iwsltpack', *{arguments!r}]\n"
        "try:\n    main.main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        f"print('LOADED', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_functions_and_files_stay_small() -> None:
    long = []
    for path in sources():
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 450:
            long.append(f"{path.relative_to(REPOSITORY)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                first = node.body[0].end_lineno or 0 if ast.get_docstring(node) else node.lineno
                if (node.end_lineno or 0) - first > 60:
                    long.append(f"{path.relative_to(REPOSITORY)}:{node.lineno} {node.name}")
    assert long == []


STEMS_TWICE = {
    # A command's file is called as what it calls.
    *(
        "pull",
        "push",
        "report",
        "decode",
        "merge",
        "score",
        "export",
        "submissions",
        "doctor",
        "status",
        "size_frontier",
    ),
    # The same kind of thing in several rooms: a table by name, work cut into shards, work on a dask cluster.
    *("registry", "shards", "dask"),
    # What Python itself calls so: a package, and what ``python -m`` runs.
    *("__init__", "__main__"),
}
"""Names of files that may stand more than once, because they mean the same thing wherever they stand."""
CLASSES_TWICE: set[str] = set()
"""The same for names of classes."""


def names_twice(paths: list[Path]) -> tuple[set[str], set[str]]:
    """Return the stems of files, and the names of classes, that occur more than once."""
    stems = Counter(path.stem for path in paths)
    nodes = [node for path in paths for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    classes = Counter(node.name for node in nodes if isinstance(node, ast.ClassDef))
    return ({n for n, count in stems.items() if count > 1}, {n for n, count in classes.items() if count > 1})


def test_one_name_means_one_thing(tmp_path: Path) -> None:
    assert names_twice(sources()) == (STEMS_TWICE, CLASSES_TWICE)
    for room, text in (("a", "class Job: ..."), ("b", "class Job: ...\nclass Other: ...")):
        (tmp_path / room).mkdir()
        (tmp_path / room / "work.py").write_text(text, encoding="utf-8")
    assert names_twice(sorted(tmp_path.rglob("*.py"))) == ({"work"}, {"Job"})


def names_compared(text: str, names: set[str]) -> list[int]:
    """Return the lines on which a source compares something with one of `names`."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Compare | ast.MatchValue):
            constants = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            found += [node.lineno] if names & {value for value in constants if isinstance(value, str)} else []
    return found


def test_no_coding_or_quantizer_is_asked_for_its_name() -> None:
    from iwsltpack.codecs.registry import CODINGS
    from iwsltpack.quantizers.registry import QUANTIZERS

    names = {*CODINGS, *QUANTIZERS}
    assert names_compared("if coding.name == 'paper' or x in ('a', 'zstd'):\n    pass", names) == [1, 1]
    asked = {"is_pcodec", "is_shuffled"}
    for path in [
        *sources(),
        *(REPOSITORY / "benchmarks").glob("*.py"),
        *(REPOSITORY / "tools").rglob("*.py"),
    ]:
        text = path.read_text(encoding="utf-8")
        if path.name != "decode_gpu.py":  # whose "paper" is a way to decode, the paper's own
            assert names_compared(text, names) == [], path
        assert not asked & {
            node.attr for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)
        }


def test_only_its_own_file_and_the_registry_know_a_coding() -> None:
    """Whatever packs and reads goes through the registry and the methods of a chain."""
    codings = {f"iwsltpack.codecs.{name}" for name in ("paper", "shuffle_zstd", "pcodec")}
    known = {name: targets & codings for name, targets in import_graph().items() if targets & codings}
    assert set(known) == {
        *("iwsltpack.codecs.registry", "iwsltpack.codecs.pcodec"),
        *("iwsltpack.quantizers.rounding", "iwsltpack.building.recipes"),  # the paper's steps
    }


def test_no_pickle_and_no_eval() -> None:
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not {"pickle", "marshal", "shelve", "dill"} & set(names), path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), f"{path}:{node.lineno}"
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert ast.unparse(node.value) == "False", f"{path}:{node.value.lineno}"
