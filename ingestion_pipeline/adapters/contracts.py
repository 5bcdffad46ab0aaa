"""Contract files: one YAML per datasource, read from a directory.

What belongs here: reading the files, YAML with line numbers, and what can only be seen between files
(two contracts that claim the same keys). What does not: what a contract may say (`domain.contract_document`).
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from ingestion_pipeline.domain.contract import Contract, ContractBook, ModuleSource
from ingestion_pipeline.domain.contract_document import MODULE_PATTERN, read_document
from ingestion_pipeline.domain.contract_patterns import can_meet
from ingestion_pipeline.domain.contract_problems import Problem, shown
from ingestion_pipeline.errors import ConfigurationError, ContractError

SUFFIXES = (".yaml", ".yml")
_VERSION_DIGITS = 12
_MAX_BYTES = 1024 * 1024
_MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class _Read:
    """One contract file: what it holds, and on which line each key stands."""

    contract: Contract | None
    error: ContractError | None
    lines: dict[str, int]


def load_contracts(directory: Path) -> ContractBook:
    """Read every contract of a directory; a broken one is listed and disables only its own datasource.

    Contracts that could claim the same key are both broken: a file must not be loaded into the wrong one.

    Raises:
        ConfigurationError: The directory cannot be read.
    """
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix in SUFFIXES and path.is_file())
    except OSError as error:
        raise ConfigurationError(
            f"The contracts' directory {directory} cannot be read: {error.strerror}.",
            hint="Set INGESTION_CONTRACTS_DIR to the directory that holds the contracts.",
        ) from error
    reads = [_read(path) for path in paths]
    good = {read.contract.datasource: read for read in reads if read.contract is not None}
    errors = [read.error for read in reads if read.error is not None]
    overlaps = _overlaps(list(good.values()))
    errors.extend(overlaps)
    disabled = {error.details["datasource"] for error in errors}
    return ContractBook(
        contracts={
            name: read.contract for name, read in sorted(good.items()) if read.contract and name not in disabled
        },
        broken=tuple(sorted(errors, key=lambda error: str(error.details["file"]))),
    )


def load_contract(path: Path) -> Contract:
    """Read one contract file.

    Raises:
        ContractError: The file cannot be used; `details` has file, line, key, datasource and `problems`.
    """
    read = _read(path)
    if read.contract is None:
        assert read.error is not None
        raise read.error
    return read.contract


def _read(path: Path) -> _Read:
    try:
        if path.stat().st_size > _MAX_BYTES:
            return _Read(None, _error(path, [Problem("", "the file is larger than 1 MiB")], {}), {})
        raw = path.read_bytes()
        data, lines, problems = _parse(raw.decode("utf-8"))
    except OSError as error:
        hint = "Give the path of a contract or a directory of contracts that this user may read."
        return _Read(None, _error(path, [Problem("", f"the file cannot be read: {error.strerror}", hint)], {}), {})
    except UnicodeDecodeError:
        return _Read(None, _error(path, [Problem("", "the file is not UTF-8 text")], {}), {})
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        lines = {"": mark.line + 1} if mark else {}
        text = getattr(error, "problem", None) or "the text cannot be parsed"
        return _Read(None, _error(path, [Problem("", f"not YAML: {text}")], lines), lines)
    contract = None
    if not problems:
        module = _module(path, data, problems)
        parts = raw if module is None else raw + b"\0" + module.source.encode()
        version = hashlib.sha256(parts).hexdigest()[:_VERSION_DIGITS]
        result = problems or read_document(data, version=version, path=path, module=module)
        if isinstance(result, Contract):
            contract = result
        else:
            problems = result
    if contract is not None and contract.datasource != path.stem:
        problems = [
            Problem(
                "datasource", f"'{contract.datasource}' is not the file's name", f"Rename one of them to '{path.stem}'."
            )
        ]
    if problems:
        return _Read(None, _error(path, problems, lines), lines)
    return _Read(contract, None, lines)


def _module(path: Path, data: Any, problems: list[Problem]) -> ModuleSource | None:
    """The text of the Python module that a contract names; it is not run here."""
    name = data.get("module") if isinstance(data, dict) else None
    if not isinstance(name, str) or not re.match(MODULE_PATTERN, name):
        return None  # of what is no name, the document tells
    found = path.parent / name
    try:
        source = found.read_bytes().decode()
        compile(source, str(found), "exec", dont_inherit=True)
    except OSError as error:
        problems.append(Problem("module", f"{name} cannot be read: {error.strerror}", "Put it beside the contract."))
    except (SyntaxError, ValueError, RecursionError) as error:
        line = f"{name}:{error.lineno}" if isinstance(error, SyntaxError) else name
        problems.append(Problem("module", f"{line}: {getattr(error, 'msg', None) or error}", "Correct the module."))
    else:
        return ModuleSource(path=found, source=source)
    return None


def _parse(text: str) -> tuple[Any, dict[str, int], list[Problem]]:
    """The document, the line of each dotted key, and what is wrong with single keys: the document is None then."""
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None, {}, []
        loader.survey(root, "")
        return None if loader.problems else loader.construct_document(root), loader.lines, loader.problems
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader; it also keeps the line of each dotted key, and tells a mistake where PyYAML only fails."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lines: dict[str, int] = {}
        self.problems: list[Problem] = []
        self._seen: set[int] = set()
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """PyYAML's own, which goes into nested nodes by recursion until Python's stack ends."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "it is nested too deeply", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def survey(self, node: yaml.Node, key: str) -> None:
        """Keep the lines of everything below a node, and what is wrong there: keys written twice, misread values."""
        self.lines.setdefault(key, node.start_mark.line + 1)
        if id(node) in self._seen:
            return
        self._seen.add(id(node))
        children: Iterable[tuple[str, int, yaml.Node]] = ()
        if isinstance(node, yaml.MappingNode):
            children = [(str(name.value), name.start_mark.line + 1, value) for name, value in node.value]
            names = [name for name, _, _ in children]
            for name in sorted({name for name in names if names.count(name) > 1}):
                self.problems.append(Problem(_join(key, name), f"'{name}' is written twice"))
            for name, _ in node.value:
                self._construct(name, _join(key, str(name.value)))
        elif isinstance(node, yaml.SequenceNode):
            children = [(str(i), value.start_mark.line + 1, value) for i, value in enumerate(node.value)]
        else:
            self._construct(node, key)
        for name, line, value in children:
            self.lines[_join(key, name)] = line
            self.survey(value, _join(key, name))

    def _construct(self, node: yaml.Node, key: str) -> None:
        """Try what looks like a date or a number (2024-02-30): of what is none PyYAML raises whatever Python raises."""
        construct = self.yaml_constructors.get(node.tag)
        if construct is None or not isinstance(node, yaml.ScalarNode):
            return
        try:
            construct(self, node)
            node.value.encode()  # an escape can name half a character: no text that could be stored
        except (ValueError, LookupError, AttributeError) as error:
            kind, reason = node.tag.rpartition(":")[2], f": {error}" if isinstance(error, ValueError) else ""
            hint = "Correct it, or put it in quotes if it is text."
            self.problems.append(Problem(key, f"{shown(node.value)} is no {kind}{reason}", hint))


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _line(key: str, lines: dict[str, int]) -> int:
    """The line of the key or, where it is missing, of what it should stand in."""
    while key and key not in lines:
        key = key.rpartition(".")[0]
    return lines.get(key, 1)


def _error(path: Path, problems: Sequence[Problem], lines: dict[str, int]) -> ContractError:
    listed: list[dict[str, Any]] = [
        {"line": _line(problem.key, lines), "key": problem.key, "message": problem.message, "hint": problem.hint}
        for problem in problems
    ]
    listed.sort(key=lambda problem: int(problem["line"]))
    first = listed[0]
    where = f"{path}:{first['line']}: " + (f"{first['key']}: " if first["key"] else "")
    more = f" ({len(listed) - 1} more)" if len(listed) > 1 else ""
    return ContractError(
        f"{where}{first['message']}.{more}",
        hint=str(first["hint"]),
        details={
            "file": str(path),
            "line": first["line"],
            "key": first["key"],
            "datasource": path.stem,
            "problems": listed,
        },
    )


def _overlaps(reads: Sequence[_Read]) -> list[ContractError]:
    """Two contracts, or two organizations of one, that could claim the same key."""
    claims = [
        (read, position, pattern)
        for read in reads
        if read.contract is not None
        for position, pattern in enumerate(read.contract.files[1:])
    ]
    problems: dict[str, tuple[_Read, list[Problem]]] = {}
    for (first, i, left), (second, j, right) in combinations(claims, 2):
        assert first.contract is not None
        assert second.contract is not None
        if first is second and left.organization == right.organization:
            continue
        if not can_meet(left.pattern, right.pattern):
            continue
        for read, position, mine, other, theirs in ((first, i, left, second, right), (second, j, right, first, left)):
            assert read.contract is not None
            assert other.contract is not None
            message = f"'{mine.pattern}' and '{theirs.pattern}' of '{other.contract.datasource}' claim the same keys"
            listed = problems.setdefault(read.contract.datasource, (read, []))[1]
            listed.append(Problem(f"files.{position}.pattern", message, "Make one of them narrower."))
    return [
        _error(read.contract.path, found, read.lines)
        for read, found in problems.values()
        if read.contract is not None and read.contract.path is not None
    ]
