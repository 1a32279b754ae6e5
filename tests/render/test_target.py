"""The target parser: random trees that are printed and read back, literal cases, and any text at all."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.errors import TargetError
from render.target import Call, Constant, Limits, Node, Pattern, first_path, parse, patterns
from tests.effort import tries

# --- random trees: a shape is drawn, and the printer says what tree its text must give ---

Value: TypeAlias = "float | int | str | bool | None"
Shape: TypeAlias = (
    "tuple[str, str] | Constant | tuple[str, list[Shape], dict[str, Shape]]"  # path | value | call
)

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True).filter(lambda name: name != "template")
LOOKS_LIKE_A_VALUE = re.compile(r"(?ai)(?:true|false|none|inf)(?![\w$])|-?[0-9]+(\.[0-9]+)?(e-?[0-9]+)?\Z")
PARTS = st.text(st.sampled_from("abz019_-:%#@$&;=~!^+<>/[]?*`éжＡ(){},'\"\\|"), min_size=1, max_size=5)
ENUMS = st.sampled_from(["{a}", "{a,b*}", "{a,{b,c}d}", "{a,b}{c,d}", "x{1,2}y"])


@st.composite
def paths(draw: st.DrawFn) -> tuple[str, str]:
    """A path as it is written and as it is read."""
    written, read = [], []
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            part = draw(PARTS)
            written.append(re.sub(r"([(){},'\"\\|=])", r"\\\1", part))
            read.append(part)
        else:
            written.append(draw(ENUMS))
            read.append(written[-1])
    return ".".join(written), ".".join(read)


PATHS: st.SearchStrategy[Shape] = paths().filter(lambda path: not LOOKS_LIKE_A_VALUE.match(path[0]))
STRINGS = st.lists(st.sampled_from(["a", "é", " ", ",", "(", ")", r"\1", r"\"", r"\'", r"\\", "$x", "^.*$"]))
CONSTANTS: st.SearchStrategy[Shape] = st.one_of(
    st.none(),
    st.booleans(),
    st.just(math.inf),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    STRINGS.map("".join),
).map(lambda value: Constant(value, 0))


def calls(inner: st.SearchStrategy[Shape]) -> st.SearchStrategy[Shape]:
    return st.tuples(NAMES, st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=2))


TARGETS = PATHS | calls(st.recursive(PATHS | CONSTANTS, calls, max_leaves=8))


class Printer:
    """Writes a shape with random spaces, quotes and pipes, and builds the tree that it stands for."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._pick = draw(st.randoms(use_true_random=False))
        self.text = self._spaces()

    def _spaces(self) -> str:
        return self._pick.choice(["", "", "", " ", "\n\t"])

    def _write(self, text: str) -> int:
        """Append a token and spaces; gives its column."""
        column = len(self.text) + 1
        self.text += text + self._spaces()
        return column

    def print(self, shape: Shape) -> Node:
        if isinstance(shape, Constant):
            return Constant(shape.value, self._write(self._constant(shape.value)))
        if len(shape) == 2:
            written, read = shape
            return Pattern(read, self._write(written))
        name, args, kwargs = shape
        piped: tuple[Node, ...] = ()
        if args and not isinstance(args[0], Constant) and self._pick.random() < 0.5:
            piped, args = (self.print(args[0]),), args[1:]
            self._write("|")
        return self._call(name, piped, args, kwargs)

    def _call(self, name: str, piped: tuple[Node, ...], args: list[Shape], kwargs: dict[str, Shape]) -> Call:
        column = self._write(name)
        self._write("(")
        values, named = list(piped), []
        for at, arg in enumerate(args):
            if at:
                self._write(",")
            values.append(self.print(arg))
        for at, (key, arg) in enumerate(kwargs.items()):
            if at or args:
                self._write(",")
            self._write(key)
            self._write("=")
            named.append((key, self.print(arg)))
        end = self._write(")")
        return Call(name, tuple(values), tuple(named), column, self.text[column - 1 : end])

    def _constant(self, value: Value) -> str:
        if isinstance(value, str):
            quote = self._pick.choice("'\"")
            return quote + value + quote
        if value is None or isinstance(value, bool) or value == math.inf:
            return self._pick.choice([str.lower, str.upper, str.title])(str(value))
        return repr(value).replace("e+", "e")


@st.composite
def printed(draw: st.DrawFn) -> tuple[str, Node]:
    printer = Printer(draw)
    tree = printer.print(draw(TARGETS))
    return printer.text, tree


@given(printed())
def test_a_printed_tree_is_read_back_with_its_columns(case: tuple[str, Node]) -> None:
    text, tree = case
    # repr, as 1 == 1.0 == True
    assert repr(parse(text)) == repr(tree)


@settings(max_examples=tries(40))
@given(printed())
def test_patterns_are_the_paths_from_left_to_right(case: tuple[str, Node]) -> None:
    _, tree = case
    found = patterns(tree)
    assert [pattern.column for pattern in found] == sorted(pattern.column for pattern in found)
    assert len(found) == repr(tree).count("Pattern(text=")


@given(printed())
def test_the_first_path_of_a_name_is_the_one_along_first_arguments(case: tuple[str, Node]) -> None:
    name, node = case[0].strip(), case[1]
    while isinstance(node, Call) and node.args:
        node = node.args[0]
    if name.endswith(")"):
        assert first_path(name) == (node.text if isinstance(node, Pattern) else None)
    else:
        assert first_path(name) == name


# --- any text ---

SCRAPS = st.sampled_from(
    [*"ab.*{}(),|=;\"'\\1-e$ \n", "f(", "a.b", "true", "inf", "1.5", "template(", "x='y'", "$x", "é", "ſ",
     "İ", "\xa0", "\ud800"]
)  # fmt: skip
TEXTS = st.one_of(st.text(), st.lists(SCRAPS, max_size=25).map("".join))
SMALL = Limits(target_chars_max=50, nesting_max=3, calls_max=5, variables_max=2, expanded_chars_max=20)


def depth(tree: Node) -> int:
    deepest, level = -1, [tree]
    while level:
        deepest += 1
        calls = [node for node in level if isinstance(node, Call)]
        level = [arg for call in calls for arg in (*call.args, *(value for _, value in call.kwargs))]
    return deepest


def or_error(parse: Callable[[], Node]) -> Node | TargetError:
    try:
        return parse()
    except TargetError as error:
        return error


@given(TEXTS)
def test_any_text_is_a_tree_within_the_limits_or_an_error_at_a_column(text: str) -> None:
    tree = or_error(lambda: parse(text, variables={"x": "a$x"}, limits=SMALL))
    if isinstance(tree, TargetError):
        assert 1 <= tree.column <= len(text) + 1
        assert tree.reason
    else:
        assert not isinstance(tree, Constant)
        assert depth(tree) <= SMALL.nesting_max
        assert repr(tree).count("Call(") <= SMALL.calls_max
        assert all(pattern.text for pattern in patterns(tree))


@given(TEXTS)
def test_any_name_has_a_first_path_or_none(text: str) -> None:
    for name in (text, text + ")"):
        assert first_path(name) is None or first_path(name)


@pytest.mark.parametrize(
    "text",
    [
        "(", "f(", "f(a,", "a|f()", "{", "a{b,", "a.", "\\", "\\,", '"', "f('", "1", "1.", "-", "1e", " ",
        "a=", "true", "template(", "template(a,", "template(a,x=1)|f()|", '""', "a ", "f (", "é", "$a",
    ],
)  # fmt: skip
def test_long_rubbish_is_answered_quickly_and_without_a_recursion_error(text: str) -> None:
    start = time.process_time()
    many = text * (16_000 // len(text))
    for target in (many, f"f({many})"):
        assert or_error(lambda: parse(target))  # noqa: B023  # called at once
        assert first_path(target) is None or first_path(target)
    assert time.process_time() - start < 1


# --- literal cases ---


def brief(node: Node) -> object:
    """A tree without columns: a path is its text, a value a tuple of one, a call (name, args …, {kwargs})."""
    if isinstance(node, Pattern):
        return node.text
    if isinstance(node, Constant):
        return (node.value,)
    kwargs = {name: brief(value) for name, value in node.kwargs}
    return [node.function, *map(brief, node.args), *([kwargs] if kwargs else [])]


READ = {
    "a.b.c": "a.b.c",
    "  a.b\n": "a.b",
    "123": "123",
    "1.2.3": "1.2.3",
    "true": "true",
    "inf": "inf",
    "$x": "$x",
    "é.b": "é.b",
    "a;b=c;d=e": "a;b=c;d=e",
    "a.{b,c}{d,e}.*[0-9]?": "a.{b,c}{d,e}.*[0-9]?",
    "{a,b}.c": "{a,b}.c",
    "a.{b,c{d,e}}.f": "a.{b,c{d,e}}.f",
    r"a\.b": "a.b",
    r"a\,b": "a,b",
    r"a\(b\)": "a(b)",
    r"a\=b": "a=b",
    r"a\\{b,c}": r"a\{b,c}",
    r"a\{b": "a{b",
    r"a.{b\},c}": "a.{b},c}",
    "-_:%#@$&;=~!^+<>/[]?*`": "-_:%#@$&;=~!^+<>/[]?*`",
    "f()": ["f"],
    "f( )": ["f"],
    "f (a)": ["f", "a"],
    "f( a )": ["f", "a"],
    "f(a , k=1)": ["f", "a", {"k": (1,)}],
    "f(a;b=c)": ["f", "a;b=c"],
    r"f(b\=c)": ["f", "b=c"],
    "f(b=c)": ["f", {"b": "c"}],
    "f(b = =c)": ["f", {"b": "=c"}],
    "f(a,x=1.5,y='z')": ["f", "a", {"x": (1.5,), "y": ("z",)}],
    "f(a,none=none)": ["f", "a", {"none": (None,)}],
    "f(123)": ["f", (123,)],
    "f(-5 )": ["f", (-5,)],
    "f(1.a)": ["f", "1.a"],
    "f(1|g())": ["f", ["g", "1"]],
    "f(a,1e3)": ["f", "a", (1000.0,)],
    "f(a,-1.5e-3)": ["f", "a", (-0.0015,)],
    "f(a,1E+3)": ["f", "a", "1E+3"],
    "f(a,+1)": ["f", "a", "+1"],
    "f(a,0x10)": ["f", "a", "0x10"],
    "f(a,1-2)": ["f", "a", "1-2"],
    "f(12345678901234567890)": ["f", (12345678901234567890,)],
    "f(True,FALSE,nOnE,INF)": ["f", (True,), (False,), (None,), (math.inf,)],
    "f(trueish.a,info,nonesuch.a,inf$,false_)": ["f", "trueish.a", "info", "nonesuch.a", "inf$", "false_"],
    "f(falſe,İnf,\u0661)": ["f", "falſe", "İnf", "\u0661"],
    r'f(a,"it\'s \"q\"")': ["f", "a", (r"it\'s \"q\"",)],
    r"""f('(^.*$)',"\1 A")""": ["f", ("(^.*$)",), (r"\1 A",)],
    "f('a''b',\"\"\"\",'')": ["f", ("a''b",), ('""',), ("",)],
    "a|f(1)": ["f", "a", (1,)],
    "a | f(1) | g(2)": ["g", ["f", "a", (1,)], (2,)],
    "a\n|f(k=1)": ["f", "a", {"k": (1,)}],
    "f(a|g(1),2)": ["f", ["g", "a", (1,)], (2,)],
    "f(a,k=g(b)|h())": ["f", "a", {"k": ["h", ["g", "b"]]}],
    'seriesByTag("name=a","b=~c")|f()': ["f", ["seriesByTag", ("name=a",), ("b=~c",)]],
    "templatex(a)": ["templatex", "a"],
}

# target → column, what stands there, and a part of what is allowed
REFUSED = {
    "": (1, "the end", "a path or a call"),
    "   ": (4, "the end", "a path or a call"),
    "a.b.c junk": (7, "'junk'", "'|' or the end"),
    "f(a)(b)": (5, "'('", "'|' or the end"),
    "f(a))": (5, "')'", "'|' or the end"),
    "a.b.c,d.e": (6, "','", "'|' or the end"),
    "a}": (2, "'}'", "'|' or the end"),
    "a\xa0b": (2, r"'\xa0'", "'|' or the end"),
    "a-b(c)": (4, "'('", "has only letters, digits and '_'"),
    "a|b": (3, "'b'", "a call"),
    "a|f(1)|": (8, "the end", "a call"),
    "a|'b'": (3, '"\'"', "a call"),
    "'a.b'": (1, '"\'"', "a path or a call"),
    "(a)": (1, "'('", "a path or a call"),
    ".a.b": (1, "'.'", "a path or a call"),
    "a..b": (3, "'.'", "a node's name"),
    "a.b.": (5, "the end", "a node's name"),
    "a. b": (3, "' '", "a node's name"),
    "a{b": (4, "the end", "the '{' of column 2 is open"),
    "a.{b,{c}": (9, "the end", "the '{' of column 3 is open"),
    "a{b.c,d}": (4, "'.'", "',' or '}'"),
    "a.{b, c}": (6, "' '", "a name"),
    "a.{b,}.c": (6, "'}'", "a name"),
    "a.{,b}.c": (4, "','", "a name"),
    "a.{}": (4, "'}'", "a name"),
    r"a\*b": (3, "'*b'", "after a backslash"),
    "a\\": (3, "the end", "after a backslash"),
    "f(a": (4, "the end", "the '(' of column 2 is open"),
    "f(a,g(b)": (9, "the end", "the '(' of column 2 is open"),
    "f(a,1 2)": (7, "'2'", "',' or ')'"),
    "f(a.b c)": (7, "'c'", "',' or ')'"),
    "f(- 1)": (5, "'1'", "',' or ')'"),
    "f(true.a)": (7, "'.'", "',' or ')'"),
    "f(none|g())": (7, "'|'", "',' or ')'"),
    "f(a,.5)": (5, "'.'", "0.5 instead of .5"),
    "f(a,1.)": (7, "')'", "a node's name"),
    "f(a,)": (5, "')'", "a number, a quoted string"),
    "f(,a)": (3, "','", "a number, a quoted string"),
    "f(a,k=)": (7, "')'", "a number, a quoted string"),
    "f(a,k=1,)": (9, "')'", "a number, a quoted string"),
}

# target → column and a part of the reason
REFUSED_OTHERWISE = {
    "f(a,k=1,2)": (9, "without a name stands after one with a name"),
    "f(a,k=1,k=2)": (9, "'k' is given twice"),
    'f(a,"x)': (5, "not closed"),
    'f("a\nb")': (3, "not closed"),
    "f(a, 1e999)": (6, "1.8e308"),
    "f(" + "9" * 5000 + ")": (3, "1.8e308"),
    "f(-" + "9" * 310 + ")": (3, "1.8e308"),
    "template()": (1, "a path or a call first"),
    "f(template('a',1))": (3, "a path or a call first"),
    "template(a.$x,b)": (15, "numbers and quoted strings"),
    "template(a.$x, x=true)": (18, "numbers and quoted strings"),
    "template(a.$x, inf)": (16, "numbers and quoted strings"),
    "template(a.$x, 5, x='b')": (21, "all without"),
}


@pytest.mark.parametrize(("target", "tree"), READ.items())
def test_a_target_is_this_tree(target: str, tree: object) -> None:
    assert repr(brief(parse(target))) == repr(tree)


@pytest.mark.parametrize(("target", "where"), REFUSED.items())
def test_an_error_says_what_stands_there_and_what_is_allowed(
    target: str, where: tuple[int, str, str]
) -> None:
    column, stands, allowed = where
    with pytest.raises(TargetError) as caught:
        parse(target)
    assert caught.value.column == column
    assert caught.value.reason.startswith(f"{stands} stands where ")
    assert allowed in caught.value.reason


@pytest.mark.parametrize(("target", "where"), REFUSED_OTHERWISE.items())
def test_an_error_has_its_reason_and_column(target: str, where: tuple[int, str]) -> None:
    column, reason = where
    with pytest.raises(TargetError) as caught:
        parse(target)
    assert caught.value.column == column
    assert reason in caught.value.reason


def test_columns_and_the_text_of_a_call_are_those_of_the_source() -> None:
    assert parse(" a.b | f( g (c) ,x=2 ) ") == Call(
        "f",
        (Pattern("a.b", 2), Call("g", (Pattern("c", 14),), (), 11, "g (c)")),
        (("x", Constant(2, 20)),),
        8,
        "f( g (c) ,x=2 )",
    )


# --- limits ---


def test_a_target_has_at_most_so_many_characters() -> None:
    assert parse("a" * 16_384) == Pattern("a" * 16_384, 1)
    with pytest.raises(TargetError, match="at most 16384 characters") as caught:
        parse("a" * 1_000_000)
    assert caught.value.column == 16_385
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("wrap", ["f({})", "{}|f()", "f(b,k={})", "f(b,{}|g())"])
def test_calls_nest_so_deep_pipes_included(wrap: str) -> None:
    each = 2 if "g()" in wrap else 1
    target = "a"
    for _ in range(32 // each):
        target = wrap.replace("{}", target)
    assert depth(parse(target)) == 32
    with pytest.raises(TargetError, match="at most 32 deep"):
        parse(wrap.replace("{}", target))


def test_a_target_has_at_most_so_many_calls() -> None:
    parse("f(" + ",".join(["g()"] * 499) + ")")
    with pytest.raises(TargetError, match="at most 500 calls") as caught:
        parse("f(" + ",".join(["g()"] * 500) + ")")
    assert caught.value.column == 3 + 4 * 499


# --- template() ---


@pytest.mark.parametrize(
    ("target", "tree"),
    [
        ("template(a.$x.c, x='b')", "a.b.c"),
        ("template(a.$1.$2, 'x', 5)", "a.x.5"),
        ("template(a.$x, x=1.5)", "a.1.5"),
        ("template(a.$x-$xy.$xyz, x='1', xy='2')", "a.1-2.2z"),
        ("template(a.$x.$y, x='$y', y='b')", "a.$y.b"),
        ("template(a.$x.$z, x='b')", "a.b.$z"),
        ("template(a.$x$x, x='b')", "a.bb"),
        ("template($.$$x$, x='b')", "$.$b$"),
        ("template(a.$x)", "a.$x"),
        ("template($x, x='a.{b,c}')", "a.{b,c}"),
        ("template($x|f($x), x='a')", ["f", ("a",), ("a",)]),
        ("template(f(a, $1), 5)", ["f", "a", (5,)]),
        (
            "template(f(a, $x, $y, $z), x='-2.5', y='7', z='10.0.0.1')",
            ["f", "a", (-2.5,), (7.0,), ("10.0.0.1",)],
        ),
        ("template(f(a, k=$x, s='$x'), x='b')", ["f", "a", {"k": ("b",), "s": ("$x",)}]),
        ("template(a.$x, x='b')|f()", ["f", "a.b"]),
        ("a.$x|template(x='b')", "a.b"),
        ("f(template(a.$x, x='b'), c.$x)", ["f", "a.b", "c.$x"]),
        ("template(f(template(a.$x.$y, x='b'), c.$x), x='d', y='e')", ["f", "a.b.$y", "c.d"]),
        ("template(template(a.$x, x='b'), x='c')", "a.b"),
    ],
)
def test_a_template_puts_its_values_into_its_paths(target: str, tree: object) -> None:
    assert repr(brief(parse(target))) == repr(tree)


def test_the_requests_variables_stand_before_those_of_the_call() -> None:
    assert parse("template(a.$x.$y, x='b')", variables={"x": "c", "y": "d"}) == Pattern("a.c.d", 10)
    assert parse("template(a.$1, 'b')", variables={"1": "c"}) == Pattern("a.c", 10)
    assert parse("template(a.$*, x='b')", variables={"*": "c", "": "d"}) == Pattern("a.c", 10)


def test_variables_are_for_templates_only() -> None:
    assert parse("f(a.$x)", variables={"x": "b"}) == parse("f(a.$x)")


def test_a_number_that_is_not_finite_stays_text() -> None:
    assert brief(parse(f"template(f($x), x='{'9' * 400}')")) == ["f", ("9" * 400,)]


def test_what_variables_make_of_a_target_is_bounded() -> None:
    with pytest.raises(TargetError, match="longer than 65536 characters") as caught:
        parse("template(f(a," + "$x" * 5000 + ",b))", variables={"x": "y" * 1_000_000})
    assert caught.value.column == 14
    with pytest.raises(TargetError, match="longer than 65536"):
        parse("template(f(" + ",".join(["a$x"] * 500) + "))", variables={"x": "y" * 200})


def test_a_path_of_which_variables_leave_nothing_is_an_error() -> None:
    with pytest.raises(TargetError, match="leave nothing") as caught:
        parse("template(f(a, $x$x), x='')")
    assert caught.value.column == 15
    assert brief(parse("template(f(a, $x), x='')")) == ["f", "a", ("",)]


def test_a_template_has_at_most_so_many_variables() -> None:
    parse("template(a,1)", variables={str(at): "" for at in range(64)})
    with pytest.raises(TargetError, match="at most 64 variables and has 65"):
        parse("template(a,x=1)", variables={str(at): "" for at in range(64)})


# --- first_path ---


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("servers.web1.load", "servers.web1.load"),
        ("cpu;host=a", "cpu;host=a"),
        ("any text, at all", "any text, at all"),
        ("scale(sumSeries(a.b.*,c.d),2)", "a.b.*"),
        ('summarize(a.{b,c}.d, "5min", "sum")', "a.{b,c}.d"),
        ("scale(cpu;host=a,1e+06)", "cpu;host=a"),
        (r"scale(a\,b,2)", "a,b"),
        ("a.b.c (avg: 5.0)", "a.b.c"),
        ("f(a.b,.5)", "a.b"),
        ("", None),
        (")", None),
        ("f()", None),
        ("f(5)", None),
        ("f('a.b',c.d)", None),
        ("f(k=a)", None),
        ("f(a..b)", None),
        ("f({a)", None),
    ],
)
def test_the_first_path_of_a_name(name: str, path: str | None) -> None:
    assert first_path(name) == path
