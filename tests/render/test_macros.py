from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import ArgumentError, TargetError
from render.extras import Extras
from render.macros import NO_MACROS, Macros
from render.target import DEFAULT_LIMITS, Call, Node, Pattern, parse
from tests.render.functions.asking import ask, values
from tests.render.memory import MemorySource

MACROS = Macros(
    {
        "constMetric": "metric.name",
        "perMinute": "perSecond({{.argString}})|scale(60)",
        "funcAlias": "funcOrig({{index .args 0}},{{index .args 1}})",
        "funcAlias2": 'funcOrig2({{index .args 0}},{{index .kwargs "key"}})',
        "object": "object.*.*.{{index .args 0}}",
        "perHour": "perMinute({{ .argString }})|scale(60)",
        "both": "f({{.args}};{{.kwargs}})",
        "twice": "group({{.args}},{{.args}})",
    }
)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        # carbonapi's own expectations
        ("func1(metric1,func2(metricA, metricB),metric3)", None),
        ("func1(metric1,constMetric(metricA, metricB),metric3)", "func1(metric1,metric.name,metric3)"),
        ("func1(metric1,perMinute(metricA),metric3)", "func1(metric1,perSecond(metricA)|scale(60),metric3)"),
        ("funcAlias(metricA,metricB)", "funcOrig(metricA,metricB)"),
        ('funcAlias2(metricA,key="42")', 'funcOrig2(metricA,"42")'),
        ("object(9554433)", "object.*.*.9554433"),
        # pipes
        ("a.b|perMinute()", "perSecond(a.b)|scale(60)"),
        ("f(x) | perMinute(9) | g()", "perSecond(f(x),9)|scale(60) | g()"),
        ("f(a.b|perMinute())", "f(perSecond(a.b)|scale(60))"),
        # macros within macros and within arguments, by name too
        ("perHour(a)", "perSecond(a)|scale(60)|scale(60)"),
        ("perMinute(perMinute(a.{b,c}))", "perSecond(perSecond(a.{b,c})|scale(60))|scale(60)"),
        ("f(k = perMinute(a), l=1)", "f(k =perSecond(a)|scale(60), l=1)"),
        ("both(a, k=1, b, l='x,y')", "f(a,b;k=1,l='x,y')"),
        ("twice()", "group(,)"),
        # what is no call of a macro
        ("perMinute", None),
        ("a.perMinute.b", None),
        ("myperMinute(a)", None),
        ("f('perMinute(a)')", None),
        ('f("\\"perMinute(a)")', None),
        ("perMinute\\(a\\)", None),
        # what cannot be read is for the parser to refuse
        ("perMinute(a", None),
        ("perMinute(a))", None),
        ("perMinute(a)|", None),
        ("perMinute('a)", None),
        ("perMinute({a|b})", None),
    ],
)
def test_templates_stand_for_calls(target: str, expected: str | None) -> None:
    assert MACROS.expand(target) == (target if expected is None else expected)


@given(st.text(st.sampled_from("ab.,|(){}'\"\\ =1"), max_size=40))
def test_a_text_without_macros_is_left_as_it_is(text: str) -> None:
    macros = Macros({"x": "never"})
    assert macros.expand(f"f({text}, x(1)") == f"f({text}, x(1)"  # looked through, as x( stands there
    assert NO_MACROS.expand(text) == text


names = st.sampled_from(["f", "perMinute", "g"])
leaves = st.sampled_from(["a.b", "1", "'q,('", "a.{b,c}", "k=2", " x "])
calls = st.recursive(
    leaves,
    lambda inner: st.builds(
        lambda name, args, pipes: f"{name}({','.join(args)})" + "".join(f"|{pipe}()" for pipe in pipes),
        names,
        st.lists(inner, max_size=3),
        st.lists(names, max_size=2),
    ),
    max_leaves=12,
)


@given(calls)
def test_a_macro_without_another_meaning_is_its_function(target: str) -> None:
    """Each call is read whole, with its pipes, whatever stands in it."""
    found = Macros({"perMinute": "p({{.argString}})"}).expand(target)
    try:
        renamed = parse(target.replace("perMinute(", "p("))
    except TargetError:  # an argument without a name after one with a name, or a number that is no target
        return
    assert shape(parse(found)) == shape(renamed)


def shape(node: Node) -> object:
    """What a target says, wherever it stands."""
    if isinstance(node, Call):
        return (
            node.function,
            [shape(arg) for arg in node.args],
            [(name, shape(one)) for name, one in node.kwargs],
        )
    return node.text if isinstance(node, Pattern) else node.value


def test_a_target_with_macros_is_evaluated(golden_source: MemorySource) -> None:
    extras = Extras(macros=MACROS)
    by_macro = ask(golden_source, "servers.*.requests|perMinute()", extras=extras)
    plain = ask(golden_source, "scale(perSecond(servers.*.requests),60)")
    assert by_macro.names == plain.names
    assert values(by_macro) == values(plain)
    template = 'applyByNode(servers.*.requests, 1, "perMinute(%.requests)")'
    assert ask(golden_source, template, extras=extras).names == plain.names
    with pytest.raises(TargetError, match="stands where ',' or '\\)'"):
        ask(golden_source, "perMinute(servers.web1.cpu", extras=extras)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("funcAlias(a)", "funcAlias(): arguments: takes 2 or more without a name; 1 are given"),
        ("funcAlias2(a, 42)", "funcAlias2(): key: is missing: write key=…"),
        ("f(" + "object(1)," * 501 + "a)", "object(): arguments: a target has at most 500 macros"),
        (
            f"perMinute({'a' * 16370})",
            "perMinute(): arguments: make a target of 16391 characters; at most 16384",
        ),
    ],
)
def test_arguments_that_a_template_lacks_or_has_too_many_of_are_refused(target: str, said: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        MACROS.expand(target)
    assert str(raised.value).startswith(said)


def test_what_doubles_at_each_use_is_stopped_early() -> None:
    target = "a"
    for _ in range(DEFAULT_LIMITS.nesting_max - 1):
        target = f"twice({target})"
    with pytest.raises(ArgumentError, match=r"make a target of .* at most 16384"):
        MACROS.expand(target)


def test_a_macro_that_arguments_make_use_itself_is_stopped() -> None:
    macros = Macros({"f": "g({{index .args 0}}({{index .args 0}}))", "g": "h({{.argString}})"})
    with pytest.raises(ArgumentError, match="at most 500 macros, 16 within one another"):
        macros.expand("f(f)")


@pytest.mark.parametrize(
    ("templates", "said"),
    [
        ({"a b": "x"}, "'a b' is no name that a target can have"),
        ({"a": "f({{.all}})"}, "a: {{.all}} is none of {{.argString}}, "),
        ({"a": "f({{index .args x}})"}, "a: {{index .args x}} is none of"),
        ({"a": "b(1)", "b": "c(1)", "c": "a (1)"}, "a uses itself: a → b → c → a"),
        ({"a": "a(1)"}, "a uses itself: a → a"),
        ({f"m{i}": f"m{i + 1}(1)" for i in range(1000)}, "m0 has more than 16 macros within one another"),
        ({f"m{i}": f"m{i + 1}(1)" for i in reversed(range(20))}, "more than 16 macros within one another"),
        ({"a": "x" * 4097}, "a has 4097 characters; at most 4096"),
        ({f"m{i}": "x" for i in range(1001)}, "there are 1001 macros; at most 1000"),
    ],
)
def test_templates_that_cannot_be_are_refused(templates: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Macros(templates)


def test_many_macros_that_use_each_other_are_read_in_no_time() -> None:
    layers = {
        f"m{i}_{j}": "+".join(f"m{i + 1}_{k}(1)" for k in range(20)) for i in range(14) for j in range(20)
    }
    assert len(Macros(layers).names) == 280
