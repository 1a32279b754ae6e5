from __future__ import annotations

import math
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from storage.errors import EventsFailed
from storage.events import FILE, Asked, Event, Events, Limits

tags = st.sampled_from(["web", "db", "deploy", "Deploy", "ä", "%", "a'b", 'c"d'])
texts = st.sampled_from(["", "deployed 1.2", "100%", "a_b", "Müller's", 'say "hi"', "line\\n", "50 %"])
times = st.integers(-5, 30)
happened = st.lists(
    st.builds(
        Event,
        when=times,
        what=texts.filter(bool),
        tags=st.lists(tags, max_size=3).map(tuple),
        data=st.sampled_from(['""', '{"a":1}', '"100%"', '"say \\"hi\\""']),
    ),
    max_size=8,
)
questions = st.builds(
    Asked,
    times,
    times,
    st.lists(tags, max_size=3),
    st.booleans(),
    texts | st.sampled_from(["100", "MÜ", '"hi"']),
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("events")


def filled(folders: Path, events: list[Event], limits: Limits | None = None) -> Events:
    folder = folders / str(len(list(folders.iterdir())))
    folder.mkdir()
    made = Events(folder, limits or Limits())
    assert [made.add(event).id for event in events] == list(range(1, len(events) + 1))
    return made


def is_asked(event: Event, asked: Asked) -> bool:
    """The twin."""
    among = [tag in event.tags for tag in asked.tags]
    in_json = asked.text.replace("\\", "\\\\").replace('"', '\\"')
    return (
        asked.start <= event.when <= asked.until
        and (not among or (any(among) if asked.any_tag else all(among)))
        and (lower(asked.text) in lower(event.what) or lower(in_json) in lower(event.data))
    )


def lower(text: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in text)


@given(happened, questions)
def test_found_are_those_of_the_time_with_the_tags_and_the_text_the_oldest_first(
    folders: Path, events: list[Event], asked: Asked
) -> None:
    numbered = [event._replace(id=i) for i, event in enumerate(events, 1)]
    plain = sorted((one for one in numbered if is_asked(one, asked)), key=lambda one: (one.when, one.id))
    assert filled(folders, events).find(asked) == (plain, False)


@given(happened, questions, st.sampled_from([1, 3, 10]))
@example([Event(9, "x"), Event(10, "x")], Asked(0, 10), 1)
def test_each_step_counts_the_events_that_begin_in_it(
    folders: Path, events: list[Event], asked: Asked, step: int
) -> None:
    counts = filled(folders, events).count(asked, step)
    plain = [
        sum(is_asked(one, asked) and at <= one.when < min(at + step, asked.until) for one in events)
        for at in range(asked.start, asked.until, step)
    ]
    assert [0 if math.isnan(count) else count for count in counts] == plain


def test_an_event_is_got_by_its_number_as_it_was_given(tmp_path: Path) -> None:
    events = Events(tmp_path)
    added = events.add(Event(5, "deployed", ("web", "ä"), '{"by":["x",null]}'))
    assert events.get(added.id) == Event(5, "deployed", ("web", "ä"), '{"by":["x",null]}', 1)
    assert events.get(2) is None


def test_asking_makes_no_file(tmp_path: Path) -> None:
    assert Events(tmp_path).find(Asked(0, 9)) == ([], False)
    assert Events(tmp_path).get(1) is None
    assert not list(tmp_path.iterdir())


def test_beyond_their_number_those_that_were_added_first_go_with_their_tags(tmp_path: Path) -> None:
    events = Events(tmp_path, Limits(kept_max=3))
    for when in (9, 8, 7, 6, 5):
        events.add(Event(when, "x", ("t",)))
    assert [event.when for event in events.find(Asked(0, 9, ["t"]))[0]] == [5, 6, 7]
    with sqlite3.connect(events.path) as database:
        assert database.execute("SELECT COUNT(*) FROM tag").fetchone() == (3,)


def test_the_newest_are_given_where_there_are_too_many_or_too_long(tmp_path: Path) -> None:
    for when in range(5):
        Events(tmp_path).add(Event(when, "x", (), f'"{"y" * 100}"'))
    few = Events(tmp_path, Limits(found_max=2)).find(Asked(0, 9))
    assert ([event.when for event in few[0]], few[1]) == ([3, 4], True)
    short = Events(tmp_path, Limits(found_bytes_max=350)).find(Asked(0, 9))
    assert ([event.when for event in short[0]], short[1]) == ([2, 3, 4], True)


def test_several_may_add_at_once_from_the_first_on(tmp_path: Path) -> None:
    def add(thread: int) -> None:
        for i in range(10):
            Events(tmp_path).add(Event(thread, str(i)))

    threads = [threading.Thread(target=add, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found, _ = Events(tmp_path).find(Asked(0, 9))
    assert sorted((event.when, event.what) for event in found) == [
        (thread, str(i)) for thread in range(4) for i in range(10)
    ]


def test_what_is_no_database_of_this_version_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_bytes(b"no database" * 100)
    with pytest.raises(EventsFailed, match="not a database"):
        Events(tmp_path).add(Event(1, "x"))
    assert path.read_bytes() == b"no database" * 100
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 7")
    with pytest.raises(EventsFailed, match="format version 7, this program reads 1"):
        Events(tmp_path).find(Asked(0, 9))


def test_a_question_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    events = Events(tmp_path)
    events.add(Event(0, "x"))
    with sqlite3.connect(events.path) as database:
        row = (0, "y" * 500, "", '""')
        rows = [row] * 4000
        database.executemany("INSERT INTO event (at, what, tags, data) VALUES (?, ?, ?, ?)", rows)
    with pytest.raises(EventsFailed, match="interrupted"):
        Events(tmp_path, Limits(duration_s=-1.0)).find(Asked(0, 9, text="z"))


# --- copies, and what is wrong with a file ---


def half_added(events: Events) -> sqlite3.Connection:
    """A connection that has written a part of what it is about to add."""
    database = sqlite3.connect(events.path)
    database.execute("PRAGMA cache_size = 1")  # so that what is not committed reaches the file
    rows = [(i, "y" * 500) for i in range(200)]
    database.executemany("INSERT INTO event (at, what, tags, data) VALUES (?, ?, '', '')", rows)
    return database


def test_a_copy_is_of_one_moment_and_waits_for_what_is_being_added(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    events, copy = Events(tmp_path), Events(tmp_path / "copy")
    whole = [events.add(Event(i, "whole", ("t",))) for i in range(20)]
    with closing(half_added(events)) as database:
        thread = threading.Thread(target=events.copy_to, args=(tmp_path / "copy",))
        thread.start()
        thread.join(0.1)
        assert thread.is_alive()
        database.rollback()
    thread.join()
    assert copy.find(Asked(0, 999))[0] == copy.find(Asked(0, 999, ["t"]))[0] == whole
    assert copy.damage() is None
    assert copy.add(Event(100, "after")).id == 21


def test_where_there_are_no_events_nothing_is_copied(tmp_path: Path) -> None:
    Events(tmp_path / "none").copy_to(tmp_path)
    assert not list(tmp_path.iterdir())
    assert Events(tmp_path).damage() is None


def test_what_is_wrong_with_a_file_is_told_and_the_file_left_alone(tmp_path: Path) -> None:
    events = Events(tmp_path)
    for i in range(200):
        events.add(Event(i, "x" * 500, ("t",)))
    assert events.damage() is None
    data = bytearray(events.path.read_bytes())
    data[-8192:] = bytes(8192)
    events.path.write_bytes(data)
    assert "age 35: btreeInitPage() returns error code 11" in (events.damage() or "")
    assert events.path.read_bytes() == data
    events.path.write_bytes(b"no database" * 100)
    assert events.damage() == "file is not a database"
    with pytest.raises(EventsFailed, match="not a database"):
        events.copy_to(tmp_path)


def test_an_event_that_was_half_added_when_its_process_was_killed_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "cut").mkdir()
    live, cut = Events(tmp_path / "live"), Events(tmp_path / "cut")
    live.add(Event(1, "whole"))
    with closing(half_added(live)):
        for path in live.path.parent.iterdir():
            (cut.path.parent / path.name).write_bytes(path.read_bytes())
    half = cut.path.read_bytes()
    assert (cut.path.parent / f"{FILE}-journal").exists()
    assert cut.damage() is None
    assert cut.path.read_bytes() == half
    assert [event.what for event in cut.find(Asked(0, 999))[0]] == ["whole"]
