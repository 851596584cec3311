"""The program's own fingerprint."""

from gfm_store import program


def test_it_is_every_line_of_every_python_file_and_their_names(tmp_path):
    (tmp_path / "inner").mkdir()
    for name in ("a.py", "inner/b.py", "notes.txt"):
        (tmp_path / name).write_text("x = 1\n")
    found = [program.of_files(tmp_path)]
    for name in ("notes.txt", "a.py", "inner/b.py"):
        (tmp_path / name).write_text("x = 2\n")
        found.append(program.of_files(tmp_path))
    (tmp_path / "a.py").rename(tmp_path / "c.py")
    found.append(program.of_files(tmp_path))
    assert found[0] == found[1]
    assert len(set(found)) == 4


def test_that_of_the_package_is_of_its_files():
    assert program.fingerprint() == program.of_files(program.PACKAGE)
    assert (program.PACKAGE / "schema.py").is_file()
