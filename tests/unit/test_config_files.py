"""proxy/config/files.py: which files are read, in which order they count, and what is told of those that can't be."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import files
from proxy.config.files import Given, Table, find, read
from proxy.errors import ConfigError


def told(path: Path | None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(find(path))
    return caught.value.problems


def test_a_folder_is_read_in_name_order_and_its_parent_is_the_base(tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    for name in ("90-b.toml", "10-a.toml", ".#10-a.toml", "readme.md", "50.toml.bak"):
        (folder / name).write_text("")
    (folder / "20-folder.toml").mkdir()
    source = find(folder)
    assert [file.name for file in source.files] == ["10-a.toml", "90-b.toml"]
    assert source.base == tmp_path


def test_a_single_file_starts_paths_at_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "one.conf"
    file.write_text("")
    assert find(file).files == (file,)
    assert find(file).base == tmp_path


def test_the_base_is_absolute_whatever_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "a.toml").write_text("")
    monkeypatch.chdir(folder)
    assert find(Path()).base == tmp_path
    assert find(Path("a.toml")).base == folder
    monkeypatch.chdir(tmp_path)
    assert find(Path("conf.d")).base == tmp_path


def test_without_a_path_the_checkout_comes_before_etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, etc = tmp_path / "here", tmp_path / "etc/popgate/conf.d"
    for folder in (here, etc):
        folder.mkdir(parents=True)
    (etc / "a.toml").write_text("")
    monkeypatch.chdir(here)
    assert (Path("conf.d"), Path("/etc/popgate/conf.d")) == files.PLACES
    monkeypatch.setattr(files, "PLACES", (Path("conf.d"), etc))
    assert find(None).files == (etc / "a.toml",)
    (here / "conf.d").mkdir()
    (here / "conf.d/b.toml").write_text("")
    assert find(None).files == (Path("conf.d/b.toml"),)


def test_nothing_found_says_what_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "PLACES", (Path("conf.d"), tmp_path / "etc"))
    [problem] = told(None)
    assert f"{tmp_path}/conf.d and {tmp_path}/etc" in problem
    assert told(tmp_path / "no") == [
        f"{tmp_path}/no: does not exist; name a folder with *.toml files, or one file, with -c"
    ]
    assert told(tmp_path) == [f"{tmp_path}: has no configuration; looked for {tmp_path}/*.toml"]


def test_what_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    file = tmp_path / "a.toml"
    file.write_text("")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        assert told(file) == [f"{file}: can't be read (Permission denied); mend its permissions"]
    monkeypatch.setattr(Path, "iterdir", refuse)
    assert told(tmp_path) == [f"{tmp_path}: can't be read (Permission denied); mend its permissions"]


def test_every_syntax_error_is_told_with_file_and_line(tmp_path: Path) -> None:
    texts = {"a": b"x = 1\ny = \n", "b": b"good = 1\n", "c": b"\n\nz = '\xff'", "d": b"[gate]\n[gate]\n", "e": b"x = ["}
    for name, text in texts.items():
        (tmp_path / f"{name}.toml").write_bytes(text)
    problems = told(tmp_path)
    starts = [f"{tmp_path}/a.toml: line 2, column 5: ", f"{tmp_path}/c.toml: line 3: is not UTF-8"]
    starts += [f"{tmp_path}/d.toml: line 2, column 6: ", f"{tmp_path}/e.toml: last line: "]
    assert len(problems) == 4
    assert [line for line, start in zip(problems, starts, strict=True) if not line.startswith(start)] == []


def test_what_python_has_no_room_for_is_told_as_any_mistake(tmp_path: Path) -> None:
    texts = ["x = " + "[" * 5000, "x = " + "9" * 5000, "a." * 5000 + "b = 1"]
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.toml").write_text(text)
    what = "a number is too long, or tables or lists are nested too deep; mend that"
    assert told(tmp_path) == [f"{tmp_path}/{number}.toml: {what}" for number in range(3)]


def test_the_mark_that_windows_editors_put_before_utf_8_is_passed_by(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfworkers = 1\n")
    assert read(find(tmp_path)).entries["workers"] == Given(1, "workers", str(tmp_path / "a.toml"))


def test_a_place_that_may_not_be_looked_at_is_told_and_not_passed_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path, *, follow_symlinks: bool = True) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.toml").write_text("")
    monkeypatch.setattr(files, "PLACES", (tmp_path,))
    monkeypatch.setattr(Path, "stat", refuse)
    assert told(None) == [f"{tmp_path}: can't be read (Permission denied); mend its permissions"]


def test_a_syntax_error_in_other_words_is_told_as_it_is() -> None:
    assert files._syntax(Path("a.toml"), "Newly worded\nin two lines") == "a.toml: Newly worded; mend the TOML"


def test_tables_merge_and_the_later_file_wins_key_by_key(tmp_path: Path) -> None:
    (tmp_path / "1.toml").write_text("top = 1\n[t]\na = 1\nb = 1\n[t.inner]\nc = 1\n")
    (tmp_path / "2.toml").write_text("[t]\nb = 2\n[t.inner]\nd = 2\n[new]\n")
    root = read(find(tmp_path))
    one, two = str(tmp_path / "1.toml"), str(tmp_path / "2.toml")
    table = root.entries["t"]
    assert isinstance(table, Table)
    assert table.entries["a"] == Given(1, "t.a", one)
    assert table.entries["b"] == Given(2, "t.b", two)
    assert table.entries["inner"] == Table(
        "t.inner", two, {"c": Given(1, "t.inner.c", one), "d": Given(2, "t.inner.d", two)}
    )
    assert root.entries["new"] == Table("new", two)
    assert root.origin("t.a") == one
    assert root.origin("t.inner.missing.deep") == two
    assert root.origin("top.deeper") == one
    assert root.origin("missing") == str(tmp_path)


def test_a_table_and_a_value_of_one_name_the_later_wins() -> None:
    root = Table("", "-")
    root.merge({"x": 1, "y": {"a": 1}}, "1")
    root.merge({"x": {"a": 2}, "y": 2}, "2")
    assert root.entries == {"x": Table("x", "2", {"a": Given(2, "x.a", "2")}), "y": Given(2, "y", "2")}


def test_a_table_over_another_keeps_every_origin() -> None:
    lower, upper = Table("gate", "1"), Table("listener.x.gate", "2")
    lower.merge({"a": 1, "b": 1}, "1")
    upper.merge({"b": 2}, "2")
    over = upper.over(lower)
    assert over.entries == {"a": Given(1, "gate.a", "1"), "b": Given(2, "listener.x.gate.b", "2")}
    assert lower.entries["b"] == Given(1, "gate.b", "1")
