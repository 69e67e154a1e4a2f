"""Classes and functions that a notebook or a script defines, as modules that other processes can import.

A module holds the source text of one of them and of all that it uses; its name follows from the text. So the
text identifies it, a report can keep it, and what runs is what is kept.
"""

from __future__ import annotations

import ast
import builtins
import functools
import hashlib
import linecache
import math
import pickle
import symtable
import sys
import sysconfig
import textwrap
from collections.abc import Iterator
from importlib import import_module
from inspect import unwrap
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from harness.imports import add_source, allow, import_allowed, package_of

HEADER = '"""A network and what it uses, as a notebook or script defined them."""'
FUTURE = 0x1000000  # the flag of code below `from __future__ import annotations`
_CHANGED = "{} is not what its source says: it was edited or patched later; run its cell again"
_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # as in cells
_PLAIN = (type(None), bool, int, float, complex, str, bytes)


def import_path(made: Any) -> tuple[str, dict[str, Any]]:
    """Return the import path of a class or function, which is allowed from now on, and its options.

    One of a module keeps its path. One of a notebook or script gets a module of its own: its source text, and
    that of everything it uses there.

    Args:
        made: a class, a function, or a ``functools.partial`` of one with keyword arguments.

    Returns:
        ``"package.module:name"``, and the keyword arguments of the partial.

    Raises:
        ValueError: it is something else, or its source cannot be read.
    """
    if isinstance(made, functools.partial):
        if made.args:
            raise ValueError("functools.partial: give its options by name; the number of classes comes first")
        path, options = import_path(made.func)
        return path, {**options, **made.keywords}
    if not isinstance(made, type | FunctionType):
        kind = type(made).__name__
        raise ValueError(f"got an object of {kind}; give the class or function that makes it, such as {kind}")
    name = made.__qualname__
    if "." in name:
        raise ValueError(
            f"{name} is no class or function of a whole cell or file: define it there, with class or def"
        )
    home: Any = sys.modules.get(made.__module__)
    if _importable(made, made.__module__, name):
        allow([package_of(made.__module__)], _folder(home))
        return f"{made.__module__}:{name}", {}
    source = _Source(vars(home) if home else {}, made.__module__)
    source.add(name, made)
    path = f"{add_source(source.text())}:{name}"
    for part, live in source.definitions.items():
        if not _alike(live, import_allowed(f"{path.partition(':')[0]}:{part}", name)):
            raise ValueError(_CHANGED.format(part))
    return path, {}


def _importable(value: Any, module: str | None, name: str) -> bool:
    """Tell whether importing ``name`` from ``module`` gives the value in another process, too."""
    home = sys.modules.get(module or "")
    if home is None or module == "__main__" or getattr(home, "__spec__", None) is None:
        return False
    return getattr(home, name, None) is value


def _folder(module: ModuleType) -> list[Path]:
    """Return the folder from which a module is imported."""
    if not module.__file__:
        return []
    file = Path(module.__file__)
    return [file.parents[module.__name__.count(".") + (file.stem == "__init__")]]


class _Source:
    """Collects the source of a definition and of what it uses from its namespace."""

    def __init__(self, namespace: dict[str, Any], module: str) -> None:
        self.namespace, self.module = namespace, module
        self.imports: set[str] = set()
        self.parts: list[str] = []
        self.definitions: dict[str, Any] = {}
        self.seen: set[str] = set()
        self.future = False

    def text(self) -> str:
        """Return the module's text."""
        future = ["from __future__ import annotations"] * self.future
        head = "\n".join([*future, *sorted(self.imports)])
        return "\n\n\n".join(part for part in [HEADER, head, *self.parts] if part) + "\n"

    def add(self, name: str, value: Any) -> None:
        """Add what ``name`` stands for, after everything that is needed to define it."""
        if name in self.seen:
            return
        self.seen.add(name)
        if isinstance(value, ModuleType):
            self._import(f"import {value.__name__} as {name}", value.__name__)
        elif (found := _home(value, name)) is not None:
            module, own = found
            self._import(f"from {module} import {own}" + f" as {name}" * (own != name), module)
        elif isinstance(value, type | FunctionType) and value.__module__ == self.module:
            if value.__name__ != name:
                self.parts.append(f"{name} = {self._expression(value, name)}")
                return
            self._define(name, value)
        else:
            self.parts.append(f"{name} = {self._expression(value, name)}")

    def _define(self, name: str, value: Any) -> None:
        self.definitions[name] = value
        text = _text(value)
        self.future |= any(code.co_flags & FUTURE for code in _codes(value))
        needed, used = _references(text, name)
        self._add_names(needed)
        self.parts.append(text)
        self._add_names(used)

    def _add_names(self, names: list[str]) -> None:
        for name in names:
            if name in self.namespace and not (
                hasattr(builtins, name) and getattr(builtins, name) is self.namespace[name]
            ):
                self.add(name, self.namespace[name])

    def _import(self, line: str, module: str) -> None:
        """Add an import; of a module that is not installed with the checksum of its file."""
        file = getattr(sys.modules.get(module) or import_module(module), "__file__", None)
        if file and not _is_installed(file) and package_of(module) != "harness":
            line += f"  # sha256 {hashlib.sha256(Path(file).read_bytes()).hexdigest()}"
        self.imports.add(line)

    def _expression(self, value: Any, name: str) -> str:
        """Write a value as Python code."""
        write = functools.partial(self._expression, name=name)
        if type(value) in _PLAIN and not (isinstance(value, float) and not math.isfinite(value)):
            return repr(value)
        if type(value) is float:
            return f"float({str(value)!r})"
        if type(value) in (list, set) and value:
            first, last = "[]" if type(value) is list else "{}"
            texts = map(write, value if type(value) is list else sorted(value, key=repr))
            return f"{first}{', '.join(texts)}{last}"
        if type(value) is tuple:
            return f"({', '.join(map(write, value))}{',' * (len(value) == 1)})"
        if type(value) is dict:
            return f"{{{', '.join(f'{write(key)}: {write(part)}' for key, part in value.items())}}}"
        if type(value) in (list, set):
            return f"{type(value).__name__}()"
        if type(value) is functools.partial:
            self.imports.add("import functools")
            named = [f"{key}={write(part)}" for key, part in value.keywords.items()]
            return f"functools.partial({', '.join([write(value.func), *map(write, value.args), *named])})"
        kind = f"{type(value).__module__}.{type(value).__name__}"
        if kind in ("torch.dtype", "torch.device", "torch.memory_format"):
            self.imports.add("import torch")
            return f"torch.device({str(value)!r})" if kind == "torch.device" else str(value)
        if (found := _home(value, name)) is not None:
            self._import(f"import {found[0]}", found[0])
            return ".".join(found)
        own = str(getattr(value, "__name__", ""))
        if isinstance(value, type | FunctionType) and self.namespace.get(own) is value:
            self.add(own, value)
            return own
        hint = "write it with def" if own == "<lambda>" else "make it in the class"
        raise ValueError(
            f"it uses {name}, of type {type(value).__name__}, whose source cannot be kept: {hint}, or give "
            "it as an option"
        )


def _home(value: Any, name: str) -> tuple[str, str] | None:
    """Return the module and the name by which a value can be imported; None where there are none."""
    own = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    for known in dict.fromkeys([own, name]):
        if isinstance(known, str) and "." not in known:
            module = getattr(value, "__module__", None)
            if module is None and callable(value):  # torch's functions do not know their module
                module = pickle.whichmodule(value, known)  # type: ignore[attr-defined]
            if isinstance(module, str) and _importable(value, module, known):
                return module, known
    return None


def _is_installed(file: str) -> bool:
    folders = (*sysconfig.get_paths().values(), "<frozen")
    return file.startswith(folders) or {"site-packages", "dist-packages"} & set(Path(file).parts) != set()


def _codes(value: Any) -> Iterator[CodeType]:
    """Yield the code of a function, or of the methods that a class defines."""
    if isinstance(value, type):
        for part in vars(value).values():
            function = _function(part)
            if function is not None and function.__qualname__.startswith(f"{value.__qualname__}."):
                yield function.__code__
    elif (function := _function(value)) is not None:
        yield function.__code__


def _function(value: Any) -> FunctionType | None:
    """Return the function inside of a method, property or decorated function."""
    if isinstance(value, property):
        value = value.fget
    value = unwrap(getattr(value, "__func__", value))
    return value if isinstance(value, FunctionType) else None


def _check_code(value: Any, node: ast.stmt, text: str) -> None:
    """Refuse a definition whose code is not what its source gives.

    Args:
        node: its source, in the text of its cell or file.
    """
    # A script is compiled as a whole, a cell line by line; Python's code differs a little.
    alone = ast.Module([node], type_ignores=[])
    compiled = [compile(source, "cell", "exec", _AWAIT, dont_inherit=True) for source in (text, alone)]
    known = {_key(code) for unit in compiled for code in _inside(unit)}
    for code in _codes(value):
        if _key(code) not in known:
            raise ValueError(_CHANGED.format(value.__name__))


def _inside(code: CodeType) -> Iterator[CodeType]:
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield part
            yield from _inside(part)


def _text(value: Any) -> str:
    """Return the source text of a definition at the top of a cell or file.

    Raises:
        ValueError: it cannot be read.
    """
    codes = list(_codes(value))
    lines_of = {code.co_filename: code.co_firstlineno for code in codes}
    main = getattr(sys.modules.get(value.__module__), "__file__", None)
    if not lines_of:  # a class without methods: in the script, or in one of the cells, the last one first
        cells = [file for file in linecache.cache if "ipykernel" in file or file.startswith("<ipython")]
        lines_of = dict.fromkeys([*([main] if main else []), *reversed(cells)], 0)
    for file, line in lines_of.items():
        linecache.checkcache(file)
        lines = linecache.getlines(file)
        for node in _top_level(lines):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            last = node.end_lineno or first
            if node.name == value.__name__ and (not line or first <= line <= last):
                _check_code(value, node, "".join(lines))
                return textwrap.dedent("".join(lines[first - 1 : last])).rstrip()
    raise ValueError(
        f"the source of {value.__name__} cannot be read: define it in a file, or in a cell of a notebook "
        "that does not begin with a magic such as %%time"
    )


def _top_level(lines: list[str]) -> Iterator[ast.ClassDef | ast.FunctionDef]:
    """Yield the classes and functions of a cell or file that are not inside of others, the last one first."""
    try:
        tree = compile("".join(lines), "cell", "exec", ast.PyCF_ONLY_AST | _AWAIT, dont_inherit=True)
        waiting: list[ast.AST] = list(tree.body)  # type: ignore[attr-defined]
    except SyntaxError:  # not Python, such as %%html
        return
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node
        elif isinstance(node, ast.stmt) and not isinstance(node, ast.AsyncFunctionDef):  # such as if, with
            waiting += ast.iter_child_nodes(node)


def _references(text: str, name: str) -> tuple[list[str], list[str]]:
    """Return the global names that a definition needs at once, and those that it uses when it is called."""
    needed: set[str] = set()
    used: set[str] = set()

    def walk(table: symtable.SymbolTable, names: set[str]) -> None:
        top = table.get_type() == "module"
        for symbol in table.get_symbols():
            if symbol.is_declared_global() and symbol.is_assigned():
                raise ValueError(f"{name} changes the global {symbol.get_name()}: keep it in an attribute")
            if symbol.is_referenced() and (symbol.is_global() or (top and not symbol.is_assigned())):
                names.add(symbol.get_name())
        for child in table.get_children():
            later = child.get_type() == "function" and not child.get_name().endswith(("comp", "genexpr"))
            walk(child, used if later else names)

    walk(symtable.symtable(text, "cell", "exec"), needed)
    return sorted(needed), sorted(used - needed)


def _alike(live: Any, new: Any) -> bool:
    """Tell whether two definitions have the same members, defaults and plain values."""
    if isinstance(live, type) and isinstance(new, type):
        ours, theirs = _members(live), _members(new)
        return ours.keys() == theirs.keys() and all(_alike(ours[key], theirs[key]) for key in ours)
    first, second = _function(live), _function(new)
    if first is None or second is None:
        plain = type(live) in _PLAIN or type(new) in _PLAIN
        return (first is None) == (second is None) and (not plain or repr(live) == repr(new))
    same = first.__qualname__ == second.__qualname__
    return same and all(_alike(*pair) for pair in zip(_defaults(first), _defaults(second), strict=False))


def _members(cls: type) -> dict[str, Any]:
    shown = {key for key in vars(cls) if not key.startswith("__") and key != "_abc_impl"}
    return {key: value for key, value in vars(cls).items() if key in shown | {"__init__", "__call__"}}


def _defaults(function: FunctionType) -> list[Any]:
    return [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]


def _key(code: CodeType) -> tuple[Any, ...]:
    """Return what a function does, without where it was written."""
    constants = tuple(
        _key(part) if isinstance(part, CodeType) else (type(part), repr(part)) for part in code.co_consts
    )
    return code.co_qualname, code.co_code, code.co_names, code.co_varnames, code.co_argcount, constants
